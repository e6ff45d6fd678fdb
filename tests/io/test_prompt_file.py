"""Prompt lists as people have them: formats, endings, encodings, and what is wrong with a file."""

import io
import json
import zipfile

import pytest

from workbench.core.seeds import draw_prompts
from workbench.io.prompt_file import PromptFileError, read_entries, read_prompts
from workbench.models.loading import check_prompt


def write(tmp_path, data: bytes | str, name: str = "prompts.txt"):
    path = tmp_path / name
    path.write_bytes(data.encode() if isinstance(data, str) else data)
    return path


TWO = ["a cat, on a mat", "a dog in the rain"]
OBJECTS = [{"prompt": text, "category": "animal"} for text in TWO]
LINES = "\n".join(map(json.dumps, OBJECTS))
TABLE = 'prompt,category\n"a cat, on a mat",animal\na dog in the rain,animal\n'


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("a.json", json.dumps(TWO)),
        ("a.JSON", json.dumps(TWO, indent=1)),  # HPSv2's lists
        ("a.json", json.dumps(OBJECTS)),
        ("a.json", json.dumps({"prompts": TWO})),
        ("a.json", json.dumps({"about": "ours", "prompts": OBJECTS})),
        ("a.json", json.dumps({"0": OBJECTS[0], "1": OBJECTS[1]})),  # GenAI-Bench, MJHQ-30K
        ("a.json", LINES),
        ("a.jsonl", LINES),
        ("a.JSONL", LINES.replace("\n", "\r\n")),
        ("a.ndjson", LINES.replace("\n", "\r") + "\r"),
        ("a.jsonl", "\n".join(map(json.dumps, TWO))),
        ("a.csv", TABLE),
        ("a.CSV", TABLE.replace("\n", "\r\n")),
        ("a.csv", TABLE.replace("\n", "\r")),
        ("a.csv", TABLE.replace("prompt,", "Prompts,")),  # DrawBench
        ("a.csv", "id;Prompt\n1;a cat, on a mat\n2;a dog in the rain\n;\n"),
        ("a.tsv", "Prompt\tCategory\na cat, on a mat\tx\na dog in the rain\ty\n"),
        ("a.csv", 'prompt\n"a cat, on a mat"\n\na dog in the rain'),
        ("a.csv", 'prompt,n\n"a cat,\non a mat",1\n"a dog\r\nin the rain",2\n'),
        ("a.txt", json.dumps(TWO)),
        ("a.txt", LINES),
        ("a.txt", TABLE),
        ("a", TABLE),
        ("a.txt", "\r".join(TWO)),
        ("a.txt", "\u2028".join(TWO)),
        ("a.txt", "1-----" + "\n2-----".join(TWO)),
        ("a.txt", "\n".join(TWO).replace(" ", "\u00a0")),
        ("a.prompts", "\n".join(TWO)),
    ],
)
@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16"])
def test_a_list_is_read_in_every_format_that_people_have(tmp_path, name, content, encoding):
    assert read_prompts(write(tmp_path, content.encode(encoding), name)) == TWO


@pytest.mark.parametrize("encoding", ["utf-16-le", "utf-16-be", "utf-32-le", "utf-32-be"])
def test_wide_encodings_are_read_by_their_mark_and_named_without(tmp_path, encoding):
    text = "sch\u00f6nes \u732b\n\U0001f469\u200d\U0001f680"
    path = write(tmp_path, "\ufeff".encode(encoding) + text.encode(encoding))
    assert read_prompts(path) == text.split("\n")
    with pytest.raises(PromptFileError, match="is binary, or UTF-16 without its byte-order mark"):
        read_prompts(write(tmp_path, TABLE.encode(encoding)))


def test_what_a_json_file_says_beside_a_prompt_is_kept_with_its_place(tmp_path):
    first, second = read_entries(write(tmp_path, "\n" + LINES, "a.jsonl"))
    assert (first.text, first.place, first.fields) == (TWO[0], "line 2", OBJECTS[0])
    assert second.place == "line 3"
    (entry,) = read_entries(write(tmp_path, json.dumps({"fox": {"prompt": "a fox"}}), "a.json"))
    assert entry.place == 'entry "fox"'


@pytest.mark.parametrize(
    ("name", "content", "told"),
    [
        ("a.csv", "a cat,animal\n", r'line 1: no column is called "prompt".* a cat, animal'),
        ("a.csv", "id,caption\n1,a cat\n", r"columns, and this one has: id, caption"),
        ("a.tsv", "prompt,category\na,b\n", r"no column is called"),
        ("a.csv", "prompt,n\na cat, on a mat,1\n", r"line 2: 3 fields, .* put quotes around"),
        ("a.csv", 'prompt,n\na fox,1\n"a cat,2\n', r"line 3: .*a quote inside quotes"),
        ("a.csv", "prompt,n\n,1\n", r"line 2: the prompt is empty"),
        ("a.csv", "prompt,prompt\na,b\n", r"two columns are called prompt"),
        ("a.csv", "prompt,n\n", "has no prompts"),
        ("a.json", '["a cat",\n', r"line 2: not JSON"),
        ("a.json", '["a cat", 3]', r"entry 2: not a JSON object"),
        ("a.json", '["a cat", ""]', r"entry 2: the prompt is empty"),
        ("a.json", '[{"prompt": null}]', r"entry 1: the prompt is None, not a text"),
        ("a.json", '{"a": 1}', r"line 1: neither a list of prompts, nor"),
        ("a.json", "[]", "has no prompts"),
        ("a.json", "[" * 100_000, "too many levels"),
        ("a.jsonl", '{"prompt": "a"}\n[\n', r"line 2: not a JSON object.*is called .json"),
        ("a.jsonl", '{"caption": "a"}', r'line 1: not a JSON object with a "prompt"'),
        ("a.jsonl", '{"prompt": "a cat \\ud83d"}', r"line 1: character 7 is U\+D83D, half a"),
        ("a.txt", "ok\n\x07\n", r"line 2: character 1 is U\+0007"),
        ("a.txt", b"a\rb\r\xff", r"line 3: not UTF-8"),
        ("a.csv", "prompt\na \x07 cat\n", r"line 2: character 3 is U\+0007"),
        ("a.yaml", "- a cat", "is a YAML file, not a prompt list: save it as text"),
        ("a.txt.gz", b"\x1f\x8b\x08", "is a gzip archive"),
        ("a.txt", b"PAR1", "is a parquet file"),
        ("a.txt", "<!DOCTYPE html><p>a cat", "is an HTML page"),
        ("a.txt", r"{\rtf1\ansi a cat}", "is an RTF document"),
    ],
)
def test_what_is_wrong_with_a_file_is_named_with_its_place(tmp_path, name, content, told):
    with pytest.raises(PromptFileError, match=rf"{name}.*{told}"):
        read_prompts(write(tmp_path, content, name))


def test_a_spreadsheet_is_called_one(tmp_path):
    with zipfile.ZipFile(file := io.BytesIO(), "w") as archive:
        archive.writestr("xl/workbook.xml", "")
    for name, told in (("a.csv", "zip archive, or a spreadsheet"), ("a.xlsx", "a spreadsheet")):
        with pytest.raises(PromptFileError, match=f"{name} is {told}|is a {told}"):
            read_prompts(write(tmp_path, file.getvalue(), name))


def test_both_forms_of_lines_are_read(tmp_path):
    path = write(tmp_path, b"\xef\xbb\xbf12-----a cat, 3-----4\r\n\n  a dog  \n7 dwarfs-----no\n")
    assert read_prompts(path) == ["a cat, 3-----4", "a dog", "7 dwarfs-----no"]


@pytest.mark.parametrize(
    ("data", "message"),
    [
        (b"", "has no prompts"),
        (b"\n \n", "has no prompts"),
        (b"ok\n\xff\xfe bad\n", "line 2: not UTF-8"),
    ],
)
def test_unusable_files_name_line_and_way_out(tmp_path, data, message):
    with pytest.raises(PromptFileError, match=message):
        read_prompts(write(tmp_path, data))


def test_a_missing_file_is_named(tmp_path):
    with pytest.raises(
        PromptFileError, match=r"cannot read the prompt file .*nowhere.txt: No such file"
    ):
        read_prompts(tmp_path / "nowhere.txt")


def test_a_line_over_the_encoders_limit_is_reported_with_its_number(tmp_path, backend):
    path = write(tmp_path, b"a red circle\n" + b"a red circle and " * 5 + b"a star\n")
    with pytest.raises(PromptFileError, match="line 2: 24 tokens, over the encoder's limit of 12"):
        read_prompts(path, lambda prompt: check_prompt(backend, prompt))


def test_draws_do_not_depend_on_how_a_batch_is_split():
    prompts = [str(n) for n in range(100)]
    whole = draw_prompts(prompts, 0, "student", update=3, samples=range(8))
    assert whole == draw_prompts(prompts, 0, "student", update=3, samples=range(4)) + draw_prompts(
        prompts, 0, "student", update=3, samples=range(4, 8)
    )
    assert len(set(whole)) > 4
    assert whole != draw_prompts(prompts, 0, "student", update=4, samples=range(8))
