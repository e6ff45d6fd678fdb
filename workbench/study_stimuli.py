"""The pictures of a study: for each prompt and method one sheet of its samples, all of one size and format, under names that say nothing.

    stimuli/3f9c0a...png      a sheet: the images of one method for one prompt, seeds along the rows
    study.json                what the study is called, and where its votes are
    stimuli.json              {"sheets": {PROMPT: {METHOD: file}}}; beside each method "spoiled METHOD", the wrong answer of a gold trial

Images come from an evaluation (`workbench.evaluation`), or from folders that hold a folder of images for each prompt. A spoiled sheet shows one
of the images again and again, blurred: beyond doubt of less quality. (Of less diversity too, but for a method that draws one image only.)
"""

from __future__ import annotations

import json
import math
import secrets
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from PIL import Image, ImageFilter

from workbench.evaluation import Evaluation
from workbench.image_store import ImageFolder, seed_draws
from workbench.metrics.inputs import pictures
from workbench.runs import write_whole
from workbench.study.design import SPOILED, StudyDesign
from workbench.study.errors import StudyError
from workbench.study.store import Store

SIDE, GAP = 900, 4  # pixels: a sheet is about as wide; between its images
PAPER = "#ffffff"
STUDY_FILE = "study.json"
IMAGES = (".png", ".jpg", ".jpeg", ".webp")


@dataclass(frozen=True)
class Samples:
    """What there is to show: `images(method, prompt)` gives one image for each seed, in the order of the seeds."""

    methods: tuple[str, ...]
    prompts: tuple[str, ...]
    seeds: tuple[int, ...]
    images: Callable[[str, str], list[Image.Image]]


def samples_of_evaluation(folder: Path, methods: tuple[str, ...] = (), limit: int = 0) -> Samples:
    """The samples of an evaluation's models (all of them, or those named) for its prompts (all, or the first `limit`).

    Raises `StudyError` for a model that is not in it, and for images that are missing or broken."""
    evaluation = Evaluation.open(folder)
    asked, methods = evaluation.request, methods or tuple(evaluation.made)
    for method in methods:
        if method not in evaluation.made:
            raise StudyError(f"the evaluation in {folder} has no images of {method}; it has those of {', '.join(evaluation.made)}")
    prompts = tuple(asked.prompts.texts[: limit or None])

    def images(method: str, prompt: str) -> list[Image.Image]:
        place = ImageFolder(evaluation.folder / "images" / evaluation.made[method].folder)
        (draws,) = seed_draws([prompt], asked.seeds, asked.noise)
        if len(place.checksums(draws)) < len(draws):
            raise StudyError(f"an image of {method} for “{prompt}” is missing or broken in {folder}: evaluate again into the same folder")
        return pictures((place.read(draws) * 255).round().byte())

    return Samples(methods, prompts, asked.seeds, images)


def samples_of_folders(folders: dict[str, Path], limit: int = 0) -> Samples:
    """The samples in METHOD's folder / PROMPT / image files; the prompt is the text in prompt.txt there, or else the folder's name.

    Every method needs every prompt and equally many images of each, which are taken in the order of their names. Raises `StudyError`."""
    found = {method: _prompts_in(method, folder) for method, folder in folders.items()}
    prompts = list(next(iter(found.values()), {}))[: limit or None]
    counts = set()
    for method, places in found.items():
        if missing := [prompt for prompt in prompts if prompt not in places]:
            raise StudyError(f"{folders[method]} has no images for “{missing[0]}”, which another method has; every method needs every prompt")
        counts |= {len(places[prompt]) for prompt in prompts}
    if len(counts) != 1:
        raise StudyError(f"every method and prompt needs equally many images, and there are {' and '.join(map(str, sorted(counts))) or 'none'}")

    def images(method: str, prompt: str) -> list[Image.Image]:
        return [_opened(path) for path in found[method][prompt]]

    return Samples(tuple(folders), tuple(prompts), tuple(range(*counts)), images)


def _prompts_in(method: str, folder: Path) -> dict[str, list[Path]]:
    if not folder.is_dir():
        raise StudyError(f"there is no folder {folder} of {method}'s images")
    found = {}
    for place in sorted(path for path in folder.iterdir() if path.is_dir()):
        text = place / "prompt.txt"
        prompt = text.read_text(encoding="utf-8").strip() if text.is_file() else place.name
        found[prompt] = sorted(path for path in place.iterdir() if path.suffix.lower() in IMAGES)
    return found


def _opened(path: Path) -> Image.Image:
    try:
        with Image.open(path) as image:
            return image.convert("RGB")
    except (OSError, SyntaxError, ValueError) as error:
        raise StudyError(f"{path} cannot be read as an image: {error}") from error


def render(samples: Samples, folder: Path) -> None:
    """Writes the sheets of all methods and prompts, and stimuli.json last. Raises `StudyError` as the samples do, and for images of other
    sizes, which would be told apart by how they are enlarged."""
    place, sheets, size = folder / "stimuli", {}, None
    place.mkdir(parents=True, exist_ok=True)
    for prompt in samples.prompts:
        for method in samples.methods:
            images = samples.images(method, prompt)
            size = size or images[0].size
            if any(image.size != size or image.width != image.height for image in images):
                raise StudyError(f"the images of a study must all be squares of one size, and {method} has some of {images[0].width} x "
                                 f"{images[0].height} for “{prompt}”: bring them to one size first, in the same way for every method")
            side = _cell(size[0], len(images))
            for name, shown in ((method, images), (f"{SPOILED} {method}", [spoiled(images[0])] * len(images))):
                file = f"{secrets.token_hex(12)}.png"
                sheet(shown, side).save(place / file)  # nothing of the images' own settings goes with it
                sheets.setdefault(prompt, {})[name] = file
    content = json.dumps({"sheets": sheets}, indent=1)
    write_whole(folder / "stimuli.json", lambda part: part.write_text(content, encoding="utf-8"))


def sheet(images: list[Image.Image], side: int) -> Image.Image:
    """The images, each `side` pixels wide and high, in as square a grid as they fill."""
    columns = math.ceil(math.sqrt(len(images)))
    rows = math.ceil(len(images) / columns)
    made = Image.new("RGB", (columns * (side + GAP) - GAP, rows * (side + GAP) - GAP), PAPER)
    for n, image in enumerate(images):
        how = Image.Resampling.NEAREST if side >= image.width else Image.Resampling.LANCZOS
        made.paste(image.resize((side, side), how), (n % columns * (side + GAP), n // columns * (side + GAP)))
    return made


def spoiled(image: Image.Image) -> Image.Image:
    """The image, blurred beyond doubt."""
    return image.filter(ImageFilter.GaussianBlur(image.width / 12))


def _cell(native: int, count: int) -> int:
    """The side of an image on the sheet: a whole multiple of a small one, so that its pixels stay square."""
    room = SIDE // math.ceil(math.sqrt(count))
    return native * (room // native) if native <= room else room


def create_study(folder: Path, samples: Samples, settings: dict, database: str = "") -> Store:
    """A study in a new `folder`: its pictures, then its database (a file there, or an address such as postgresql://...), then study.json.

    `settings` are the other fields of `StudyDesign`. Raises `StudyError` for a folder that holds a study, and as design, samples and store do."""
    if (folder / STUDY_FILE).exists():
        raise StudyError(f"{folder} holds a study already, and it stays as it is; choose another folder")
    design = StudyDesign(methods=samples.methods, prompts=samples.prompts, seeds=samples.seeds, **settings)  # before hours of rendering
    folder.mkdir(parents=True, exist_ok=True)
    render(samples, folder)
    store = Store.create(database or folder / "study.db", design)
    content = json.dumps({"title": design.title, "digest": design.digest, "database": database}, indent=1)
    write_whole(folder / STUDY_FILE, lambda part: part.write_text(content, encoding="utf-8"))
    return store


def open_study(folder: Path) -> Store:
    """The study in a folder. Raises `StudyError` where there is none."""
    try:
        database = json.loads((folder / STUDY_FILE).read_text(encoding="utf-8"))["database"]
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise StudyError(f"{folder} holds no study ({error}); make one with `python -m workbench study create`") from error
    return Store.open(database or folder / "study.db")
