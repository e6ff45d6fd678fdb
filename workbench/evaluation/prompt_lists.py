"""The prompts that models are evaluated on: a list by name, or from a file, cleaned before anything
is drawn.

    scenes        the 43 captions of the embedded world that no setting was chosen on
    neutral       200 prompts of our own, for demonstrations
    pick-a-pic    1,024 lines of the released test_diversity.py (Tables 1 to 4), called "sfw" there,
                  which is not true of all
    coco-10k      10,000 captions in the style of COCO 2014, released with it
    diffusiondb   10,000 of DiffusionDB's prompts, in an order that does not depend on their meaning
    geneval       553 prompts with the metadata that they are judged by (Table 5)

The last four are downloaded at their first use from where they were published, and never bundled.
A file holds one prompt per line, or is JSON, JSONL, CSV or TSV (`workbench.io.prompt_file`); JSON
objects with an "include" have GenEval's metadata. `unsafe` prompts and repeated ones are dropped,
and counted.
"""

from __future__ import annotations

import hashlib
import urllib.request
from collections import Counter
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from pathlib import Path

from huggingface_hub import hf_hub_download

from workbench.evaluation.safety import unsafe
from workbench.io.digests import cache_folder
from workbench.io.files import slug, write_atomically
from workbench.io.hub import from_hub
from workbench.io.prompt_file import Entry, PromptFileError, read_entries
from workbench.io.prompt_text import clean_prompt, prompt_lines
from workbench.metrics.geneval import rules as geneval
from workbench.scenes.prompt_sets import reported_on

NEUTRAL = Path(__file__).with_name("lists") / "neutral.txt"
DIFFUSIONDB, DIFFUSIONDB_SIZE, NSFW_SCORE = "poloclub/diffusiondb", 10_000, 0.1


@dataclass(frozen=True)
class PublishedFile:
    """A file at an address that always means the same bytes."""

    address: str
    sha256: str

    @property
    def file(self) -> str:
        """Its name."""
        return self.address.rsplit("/", 1)[-1]


_RELEASED = "https://raw.githubusercontent.com/Multimedia-Analytics-Laboratory/dpdmd/d8f75c9651e3cad739e1c1a8afd8907f24233e80/data"
PUBLISHED_LISTS = {
    "pick-a-pic": PublishedFile(
        f"{_RELEASED}/pick2pic_sfw_test.txt",
        "d839050acb06aa045e399e76a81e4ade9a55fc743dc0e22e7b3eaeaca5c19107",
    ),
    "coco-10k": PublishedFile(
        f"{_RELEASED}/coco10k.txt",
        "3e10bddaa45958e08593b47da4b3ffb00bd53cbb53291dc8659d3b1e14be0999",
    ),
    "geneval": PublishedFile(
        "https://raw.githubusercontent.com/djghosh13/geneval/af4902f24d3ca90ebbb446dd9891a59e0f82725f/prompts/"
        "evaluation_metadata.jsonl",
        "5c48e0813e812e3c373fa5c8ed07a8f0a483be30272b4427b0559c8048e67c13",
    ),
}
NAMES = ("scenes", "neutral", *PUBLISHED_LISTS, "diffusiondb")


@dataclass(frozen=True)
class Prompt:
    """One prompt, and if it is GenEval's, its metadata: {"tag", "include", "exclude"}."""

    text: str
    geneval: dict | None = field(default=None, hash=False)


@dataclass(frozen=True)
class PromptList:
    """Prompts, each once, and the number of dropped ones by reason."""

    name: str  # of a list, or the file's
    prompts: tuple[Prompt, ...]
    dropped: dict[str, int]
    limited_to: int = 0  # 0: all that were not dropped

    @property
    def texts(self) -> list[str]:
        """The prompts as text."""
        return [prompt.text for prompt in self.prompts]

    @property
    def summary(self) -> str:
        """The dropped prompts in words; empty if there are none."""
        return ", ".join(f"{count} {reason}" for reason, count in self.dropped.items())


def prompt_list(name: str, limit: int = 0, check: Callable[[str], object] = str) -> PromptList:
    """The first `limit` (0: all) prompts of a named list or a file that are not dropped.

    `check(prompt)` is the prompt as a model reads it: two spellings that it reads alike are one
    prompt, repeated. It may raise ValueError for one that the model cannot draw (a caption outside
    the scenes world). Raises `PromptFileError` for a list that cannot be loaded, or that is empty
    after dropping, with the reasons.
    """
    return kept(name, _read(name), limit, check)


def kept(
    name: str, prompts: Iterable[Prompt], limit: int = 0, check: Callable[[str], object] = str
) -> PromptList:
    """`prompt_list` of given prompts."""
    if limit < 0:
        raise PromptFileError(f"a limit of {limit} prompts makes no sense; 0 takes all")
    clean: dict[object, Prompt] = {}  # by what a model reads
    dropped, first = Counter(), ""
    for prompt in prompts:
        reason, read = unsafe(prompt.text), None
        try:
            read = None if reason else check(prompt.text)
        except ValueError as error:
            reason, first = "not understood", first or str(error)
        reason = reason or ("repeated" if read in clean else "")
        if reason:
            dropped[reason] += 1
        else:
            clean[read] = prompt
    limited = limit if limit < len(clean) else 0
    result = PromptList(name, tuple(clean.values())[: limited or None], dict(dropped), limited)
    if not result.prompts:
        reason = result.summary or "it is empty"
        raise PromptFileError(f"{name} has no prompt left to draw ({reason}). {first}".strip())
    return result


def folder_name(prompts: PromptList) -> str:
    """A folder's name for a list; two files of one name, or two versions of one, have two."""
    if prompts.name in NAMES:
        return prompts.name
    digest = hashlib.sha256("\n".join(prompts.texts).encode()).hexdigest()[:8]
    return f"{slug(Path(prompts.name).stem)}-{digest}"


def prompts_of_text(text: str) -> list[Prompt]:
    """The prompts of a text, one per line. Raises `PromptFileError` for a character that cannot be
    read, with its place.
    """
    try:
        return [Prompt(prompt) for prompt in prompt_lines(text)]
    except ValueError as error:
        raise PromptFileError(f"your own prompts, {error}") from error


def _read(name: str) -> list[Prompt]:
    if name == "scenes":
        return [Prompt(request.text) for request in reported_on()]
    if name == "diffusiondb":
        return _diffusiondb()
    path = (
        NEUTRAL
        if name == "neutral"
        else _downloaded(PUBLISHED_LISTS[name])
        if name in PUBLISHED_LISTS
        else Path(name)
    )
    if not path.is_file():
        raise PromptFileError(
            f"there is no prompt list and no file called {name}; the lists are {', '.join(NAMES)}"
        )
    return [_checked(path, entry) for entry in read_entries(path)]


def _checked(path: Path, entry: Entry) -> Prompt:
    if not entry.fields or "include" not in entry.fields:
        return Prompt(entry.text)
    try:
        geneval.check(entry.fields)
    except (ValueError, TypeError, AttributeError) as error:
        raise PromptFileError(f"{path}, {entry.place}: {error}") from error
    return Prompt(entry.text, entry.fields)


def _downloaded(published: PublishedFile) -> Path:
    path = cache_folder() / "prompts" / published.file
    if path.is_file() and hashlib.sha256(path.read_bytes()).hexdigest() == published.sha256:
        return path
    try:
        with urllib.request.urlopen(published.address, timeout=60) as answer:
            content = answer.read()
    except OSError as error:  # URLError is one
        raise PromptFileError(
            f"cannot download {published.address}: {error}. Connect to the network, or put the "
            f"file at {path}, or name another list or file"
        ) from error
    if hashlib.sha256(content).hexdigest() != published.sha256:
        raise PromptFileError(
            f"{published.address} has changed; name a copy of the original file, or another list"
        )
    path.parent.mkdir(parents=True, exist_ok=True)
    write_atomically(path, lambda part: part.write_bytes(content))
    return path


def _diffusiondb() -> list[Prompt]:
    try:
        from pyarrow import parquet
    except ModuleNotFoundError as error:
        raise PromptFileError(
            "the list diffusiondb is a parquet file: pip install pyarrow"
        ) from error
    offline = (
        f"metadata.parquet of {DIFFUSIONDB} (195 MB) is not in the hub cache, and the hub cannot "
        "be reached: connect to the network, or name another list or file"
    )
    path = from_hub(
        DIFFUSIONDB,
        lambda: hf_hub_download(DIFFUSIONDB, "metadata.parquet", repo_type="dataset"),
        absent=f"{DIFFUSIONDB} no longer holds metadata.parquet; name another list or file",
        offline=offline,
        error=PromptFileError,
    )
    table = parquet.read_table(path, columns=["prompt", "prompt_nsfw"]).to_pydict()
    return chosen_of_diffusiondb(zip(table["prompt"], table["prompt_nsfw"]))


def chosen_of_diffusiondb(rows: Iterable[tuple[str, float]]) -> list[Prompt]:
    """The first `DIFFUSIONDB_SIZE` distinct prompts by their SHA-256, among those that
    DiffusionDB's own classifier gives less than `NSFW_SCORE`.
    """
    texts = {clean_prompt(prompt) for prompt, score in rows if prompt and score < NSFW_SCORE}
    ordered = sorted(texts - {""}, key=lambda text: hashlib.sha256(text.encode()).digest())
    return [Prompt(text) for text in ordered[:DIFFUSIONDB_SIZE]]
