"""Lists by name and from files: what is dropped and counted, what is checked, and what is said
when they cannot be had.
"""

import hashlib
import http.server
import json
import threading

import pytest

from workbench.evaluation import prompt_lists
from workbench.evaluation.prompt_lists import (
    NAMES,
    Prompt,
    PublishedFile,
    chosen_of_diffusiondb,
    prompt_list,
    prompts_of_text,
)
from workbench.evaluation.safety import unsafe
from workbench.io.prompt_file import PromptFileError
from workbench.scenes.grammar import parse
from workbench.scenes.prompt_sets import reported_on


def test_our_own_lists_are_there_and_clean():
    neutral = prompt_list("neutral")
    assert len(neutral.prompts) == 200
    assert not neutral.dropped
    assert neutral.summary == ""
    assert prompt_list("scenes", check=parse).texts == [request.text for request in reported_on()]


@pytest.mark.parametrize(
    "text",
    [
        "a nude woman",
        "NSFW",
        "a teen in a bikini",
        "young girl, seductive pose",
        "Hentai.",
        "naked",
        "toddlers in bikinis",
        "babies in swimsuits",
        "two preteens in swimsuits",
        "infants, wet",
        "little sister in a bikini",
        "thirteen yr old, seductive",
        "a 12 year old, seductive",
        "sexualized woman",
        "nakedness",
        "dildos",
    ],
)
def test_what_is_not_to_be_drawn_is_dropped(text):
    assert unsafe(text)


@pytest.mark.parametrize(
    "text",
    [
        "a girl with a kite",
        "a hot cup of tea",
        "classical architecture in Essex",
        "a cockatoo and an assembly line",
        "a wet dog",
        "a bikini on a washing line",
        "children in a park",
        "a hot dog and a child",
        "a hot air balloon over two boys",
        "a 30 year old in a swimsuit",
    ],
)
def test_harmless_words_stay(text):
    assert not unsafe(text)


def test_what_is_dropped_is_counted_and_the_limit_counts_what_is_left(tmp_path):
    file = tmp_path / "mine.txt"
    file.write_text("a red circle\nnude\ntwo dogs\na red circle\na star\ntwo stars\n")
    found = prompt_list(str(file), limit=2, check=parse)
    assert found.texts == ["a red circle", "a star"]
    assert found.dropped == {
        "sexual": 1,
        "not understood": 1,
        "repeated": 1,
    }
    assert found.limited_to == 2
    assert prompt_list(str(file), limit=3, check=parse).limited_to == 0
    assert found.summary == "1 sexual, 1 not understood, 1 repeated"
    assert found.name == str(file)


def test_a_list_of_which_nothing_is_left_says_why(tmp_path):
    file = tmp_path / "mine.txt"
    file.write_text("a red dog\n")
    with pytest.raises(
        PromptFileError,
        match=r'no prompt left to draw \(1 not understood\).* does not know the word "dog"',
    ):
        prompt_list(str(file), check=parse)


def test_genevals_metadata_is_kept(tmp_path):
    entry = {
        "tag": "counting",
        "include": [{"class": "dog", "count": 2}],
        "exclude": [{"class": "dog", "count": 3}],
        "prompt": "two dogs",
    }
    file = tmp_path / "geneval.jsonl"
    file.write_text(json.dumps(entry) + "\n" + json.dumps({"prompt": "a cat"}) + "\n")
    assert prompt_list(str(file)).prompts == (Prompt("two dogs", entry), Prompt("a cat"))
    file.write_bytes(b'\xef\xbb\xbf{"prompt": "a cat\xe2\x80\xa8"}\n\n{"prompt": "a dog"}\r\n')
    assert prompt_list(str(file)).texts == ["a cat", "a dog"]
    for broken, told in (
        (b'{"prompt": ""}', "the prompt is empty"),
        (b'{"prompt": "\xff"}', "not UTF-8"),
        (b"[1]", "not a JSON object"),
    ):
        file.write_bytes(b'{"prompt": "a cat"}\n' + broken)
        with pytest.raises(PromptFileError, match=rf"geneval.jsonl, line 2: {told}"):
            prompt_list(str(file))
    file.write_text('{"prompt": "a cat"}\n{"text": "a dog"}\n')
    with pytest.raises(
        PromptFileError, match=r'geneval.jsonl, line 2: not a JSON object with a "prompt"'
    ):
        prompt_list(str(file))
    file.write_text(json.dumps(entry | {"include": [{"class": "dogg", "count": 2}]}))
    with pytest.raises(PromptFileError, match=r"geneval.jsonl, line 1: .*'dogg'"):
        prompt_list(str(file))
    whole = tmp_path / "geneval.json"
    whole.write_text(json.dumps([entry, {"prompt": "a cat"}]))
    assert prompt_list(str(whole)).prompts == (Prompt("two dogs", entry), Prompt("a cat"))


def test_spellings_that_the_model_reads_alike_are_one_prompt(tmp_path):
    file = tmp_path / "variants.txt"
    file.write_text(
        "a red circle\nA red circle\na  red circle\na red\u00a0 circle\na red circle.\na star\n"
    )
    found = prompt_list(str(file), check=lambda text: parse(text).text)
    assert found.texts == ["a red circle", "a star"]
    assert found.dropped == {"repeated": 4}
    assert len(prompt_list(str(file)).texts) == 6  # to a model that reads any text
    file.write_text("\u00e9t\u00e9\ne\u0301te\u0301\n\ufeff\u00e9t\u00e9\u200b\n", encoding="utf-8")
    assert prompt_list(str(file)).dropped == {"repeated": 2}


def test_lists_and_files_that_are_not_there_are_told():
    with pytest.raises(
        PromptFileError,
        match=f"no prompt list and no file called pick-a-pick; the lists are {', '.join(NAMES)}",
    ):
        prompt_list("pick-a-pick")


def test_a_limit_below_nothing_is_refused():
    with pytest.raises(PromptFileError, match="a limit of -1 prompts"):
        prompt_list("neutral", limit=-1)


def test_a_text_is_a_prompt_a_line():
    assert prompts_of_text(" a star \n\n a circle") == [Prompt("a star"), Prompt("a circle")]
    assert prompts_of_text("a\u00a0star\ra circle") == [Prompt("a star"), Prompt("a circle")]
    with pytest.raises(PromptFileError, match=r"your own prompts, line 2: character 2 is U\+0007"):
        prompts_of_text("a\nb\x07")


@pytest.fixture
def served(tmp_path):
    """A folder that a server on this machine gives out, and its address."""
    folder = tmp_path / "served"
    folder.mkdir()
    server = http.server.ThreadingHTTPServer(
        ("127.0.0.1", 0), lambda *a: http.server.SimpleHTTPRequestHandler(*a, directory=str(folder))
    )
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield folder, f"http://127.0.0.1:{server.server_port}"
    server.shutdown()


def test_a_published_list_is_downloaded_once_and_checked(served, tmp_path, monkeypatch):
    folder, address = served
    content = b"a fox\na hill\n"
    (folder / "list.txt").write_bytes(content)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    monkeypatch.setitem(
        prompt_lists.PUBLISHED_LISTS,
        "coco-10k",
        PublishedFile(f"{address}/list.txt", hashlib.sha256(content).hexdigest()),
    )
    assert prompt_list("coco-10k").texts == ["a fox", "a hill"]
    (folder / "list.txt").unlink()
    assert prompt_list("coco-10k").texts == ["a fox", "a hill"]  # from the cache
    (prompt_lists.cache_folder() / "prompts" / "list.txt").write_bytes(b"a fox\n")  # broken there
    with pytest.raises(PromptFileError, match=r"cannot download .*404.* or put the file at"):
        prompt_list("coco-10k")
    (folder / "list.txt").write_bytes(b"something else")
    with pytest.raises(PromptFileError, match="has changed; name a copy"):
        prompt_list("coco-10k")


def test_a_network_that_is_not_there_names_the_ways_out(tmp_path, monkeypatch):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    monkeypatch.setitem(
        prompt_lists.PUBLISHED_LISTS, "pick-a-pic", PublishedFile("http://127.0.0.1:9/list.txt", "")
    )
    with pytest.raises(
        PromptFileError, match=r"cannot download .* Connect to the network, or put the file at"
    ):
        prompt_list("pick-a-pic")


def test_diffusiondbs_prompts_are_distinct_safe_and_in_a_fixed_order():
    rows = [(f"prompt {n}", 0.01) for n in range(30)] + [
        ("prompt 3 ", 0.0),
        ("bad", 0.5),
        ("", 0.0),
        (None, 0.0),
    ]
    found = [prompt.text for prompt in chosen_of_diffusiondb(rows)]
    assert sorted(found) == sorted(f"prompt {n}" for n in range(30)) != found
    assert found == [prompt.text for prompt in chosen_of_diffusiondb(reversed(rows))]


def test_diffusiondb_offline_names_the_ways_out():
    pytest.importorskip("pyarrow")
    with pytest.raises(
        PromptFileError,
        match=r"metadata.parquet of poloclub/diffusiondb .195 MB. .* name another list or file",
    ):
        prompt_list("diffusiondb")
