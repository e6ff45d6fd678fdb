"""The pictures of a study: for each prompt and method one sheet of its samples, all of one size
and format, under names that say nothing.

    stimuli/3f9c0a...png      a sheet: the images of one method for one prompt, seeds along the rows
    study.json                what the study is called, and where its votes are; no password
    stimuli.json              {"sheets": {PROMPT: {METHOD: file}}, "sha256": {file: ...}, ...}, read by `study.pictures`; beside each method
                              "spoiled METHOD", the wrong answer of a gold trial

Images come from an evaluation (`workbench.evaluation.evaluation`), or from folders that hold a
folder of images for each prompt. A spoiled sheet shows one of the images again and again, blurred:
beyond doubt of less quality. (Of less diversity too, but for a method that draws one image only.)
"""

from __future__ import annotations

import hashlib
import json
import math
import secrets
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
from PIL import Image, ImageFilter, ImageOps

from workbench.evaluation.evaluation import Evaluation
from workbench.evaluation.images import ImageFolder
from workbench.io.files import write_atomically
from workbench.metrics.inputs import pictures
from workbench.models.sampling import seed_draws
from workbench.study.design import SPOILED, StudyDesign
from workbench.study.errors import StudyError
from workbench.study.folder import STUDY_FILE
from workbench.study.server.pictures import digest_of_sheets, outgoing_length
from workbench.study.store.database import without_password
from workbench.study.store.store import Store

SIDE, GAP = 900, 4  # pixels: a sheet is about as wide; between its images
PAPER = "#ffffff"
IMAGES = (".png", ".jpg", ".jpeg", ".webp")


@dataclass(frozen=True)
class Samples:
    """What there is to show: `images(method, prompt)` gives one image for each seed, in the order
    of the seeds.
    """

    methods: tuple[str, ...]
    prompts: tuple[str, ...]
    seeds: tuple[int, ...]
    images: Callable[[str, str], list[Image.Image]]


def samples_of_evaluation(folder: Path, methods: tuple[str, ...] = (), limit: int = 0) -> Samples:
    """The samples of an evaluation's models (all that it was asked for, or those named) for its
    prompts (all, or the first `limit`).

    Raises `StudyError` for a model that is not in it, and for images that are missing or broken.
    """
    evaluation = Evaluation.open(folder)
    asked, methods = evaluation.request, methods or evaluation.request.models
    for method in methods:
        if method not in evaluation.made:
            raise StudyError(
                f"the evaluation in {folder} has no images of {method}; it has those of "
                f"{', '.join(evaluation.made)}"
            )
    prompts = tuple(asked.prompts.texts[: limit or None])

    def images(method: str, prompt: str) -> list[Image.Image]:
        place = ImageFolder(evaluation.folder / "images" / evaluation.made[method].folder)
        (draws,) = seed_draws([prompt], asked.seeds, asked.noise)
        if len(place.checksums(draws)) < len(draws):
            raise StudyError(
                f"an image of {method} for “{prompt}” is missing or broken in {folder}: evaluate "
                "again into the same folder"
            )
        return pictures((place.read(draws) * 255).round().byte())

    return Samples(methods, prompts, asked.seeds, images)


def samples_of_folders(folders: dict[str, Path], limit: int = 0) -> Samples:
    """The samples in METHOD's folder / PROMPT / image files; the prompt is the text in prompt.txt
    there, or else the folder's name.

    Every method needs every prompt, and of each the images of the same names (without .png and the
    like), because an image is called after its seed; they are shown in the order of their names.
    What is transparent becomes white. Raises `StudyError`.
    """
    found = {method: _prompts_in(method, folder) for method, folder in folders.items()}
    first = next(iter(found.values()), {})
    prompts = list(first)[: limit or None]
    for method, places in found.items():
        _check_prompts(folders[method], prompts, places)
        if not limit:
            _check_prompts(next(iter(folders.values())), list(places), first)
    names = {
        method: {prompt: _images_in(places[prompt]) for prompt in prompts}
        for method, places in found.items()
    }
    count = _check_names(
        names, {prompt: [places[prompt] for places in found.values()] for prompt in prompts}
    )

    def images(method: str, prompt: str) -> list[Image.Image]:
        return [_opened(path) for path in names[method][prompt].values()]

    return Samples(tuple(folders), tuple(prompts), tuple(range(count)), images)


def _prompts_in(method: str, folder: Path) -> dict[str, Path]:
    """The folder of each prompt."""
    if not folder.is_dir():
        raise StudyError(f"there is no folder {folder} of {method}'s images")
    found: dict[str, Path] = {}
    for place in sorted(path for path in folder.iterdir() if path.is_dir()):
        text = place / "prompt.txt"
        try:
            prompt = text.read_text(encoding="utf-8").strip() if text.is_file() else place.name
        except (OSError, ValueError) as error:
            raise StudyError(
                f"{text} cannot be read ({error}); write the prompt into it as UTF-8"
            ) from error
        if not prompt:
            raise StudyError(
                f"{text} is empty: write the prompt into it, or remove it, and the folder's name "
                "is the prompt"
            )
        if prompt in found:
            raise StudyError(
                f"{found[prompt]} and {place} are both of the prompt “{prompt}”: put their images "
                "into one folder, or correct one"
            )
        found[prompt] = place
    return found


def _check_prompts(folder: Path, wanted: list[str], there: dict[str, Path]) -> None:
    if missing := [prompt for prompt in wanted if prompt not in there]:
        raise StudyError(
            f"{folder} has no images for “{missing[0]}”, which another method has; every method "
            "needs every prompt"
        )


def _images_in(place: Path) -> dict[str, Path]:
    """The files by their names without an ending, in the order of these."""
    found: dict[str, Path] = {}
    for path in sorted(path for path in place.iterdir() if path.suffix.lower() in IMAGES):
        if path.stem in found:
            raise StudyError(
                f"{found[path.stem].name} and {path.name} in {place} have one name, and so one "
                "seed: leave one out"
            )
        found[path.stem] = path
    return dict(sorted(found.items()))


def _check_names(
    names: dict[str, dict[str, dict[str, Path]]], places: dict[str, list[Path]]
) -> int:
    """How many images there are of every method and prompt; raises `StudyError` unless all are of
    the same seeds.
    """
    first, *others = names.values()
    for prompt, (place, *elsewhere) in places.items():
        for found, other in zip(others, elsewhere):
            if odd := sorted(set(first[prompt]) ^ set(found[prompt])):
                raise StudyError(
                    f"of “{prompt}” {place} and {other} hold images of different names, and "
                    f"{odd[0]!r} is in one of them only: give "
                    "every method an image of each seed, called after the seed"
                )
    counts = {len(first[prompt]): prompt for prompt in places}
    if len(counts) != 1 or 0 in counts:
        told = (
            " and ".join(f"{count} of “{prompt}”" for count, prompt in sorted(counts.items()))
            or "none"
        )
        raise StudyError(
            f"every prompt needs equally many images, at least one, and there are {told}"
        )
    return next(iter(counts))


def _opened(path: Path) -> Image.Image:
    """The image, upright and on white."""
    try:
        with Image.open(path) as image:
            upright = ImageOps.exif_transpose(image)
            if not upright.has_transparency_data:
                return upright.convert("RGB")
            return Image.alpha_composite(
                Image.new("RGBA", upright.size, PAPER), upright.convert("RGBA")
            ).convert("RGB")
    except (OSError, SyntaxError, ValueError) as error:
        raise StudyError(f"{path} cannot be read as an image: {error}") from error


def render_sheets(samples: Samples, folder: Path) -> str:
    """Writes the sheets of all methods and prompts, and stimuli.json last; returns their digest,
    which belongs into the design.

    Raises `StudyError` as the samples do, and for images of other sizes, which would be told apart
    by how they are enlarged.
    """
    place, sheets, sha256, length, size = folder / "stimuli", {}, {}, 0, None
    place.mkdir(parents=True, exist_ok=True)
    for prompt in samples.prompts:
        for method in samples.methods:
            images = samples.images(method, prompt)
            size = size or images[0].size
            if any(image.size != size or image.width != image.height for image in images):
                raise StudyError(
                    f"the images of a study must all be squares of one size, and {method} has "
                    f"some of {images[0].width} x "
                    f"{images[0].height} for “{prompt}”: bring them to one size first, in the "
                    "same way for every method"
                )
            side = _cell(size[0], len(images))
            for name, shown in (
                (method, images),
                (f"{SPOILED} {method}", [spoiled(images[0])] * len(images)),
            ):
                file = f"{secrets.token_hex(12)}.png"
                made = contact_sheet(shown, side)
                made.save(place / file)  # nothing of the images' own settings goes with it
                sheets.setdefault(prompt, {})[name] = file
                sha256[file] = hashlib.sha256((place / file).read_bytes()).hexdigest()
                length = max(length, outgoing_length(np.array(made)))
    content = json.dumps({"sheets": sheets, "sha256": sha256, "length": length}, indent=1)
    write_atomically(
        folder / "stimuli.json", lambda part: part.write_text(content, encoding="utf-8")
    )
    return digest_of_sheets(sheets, sha256)


def contact_sheet(images: list[Image.Image], side: int) -> Image.Image:
    """The images, each `side` pixels wide and high, in as square a grid as they fill."""
    columns = math.ceil(math.sqrt(len(images)))
    rows = math.ceil(len(images) / columns)
    made = Image.new("RGB", (columns * (side + GAP) - GAP, rows * (side + GAP) - GAP), PAPER)
    for n, image in enumerate(images):
        how = Image.Resampling.NEAREST if side >= image.width else Image.Resampling.LANCZOS
        made.paste(
            image.resize((side, side), how),
            (n % columns * (side + GAP), n // columns * (side + GAP)),
        )
    return made


def spoiled(image: Image.Image) -> Image.Image:
    """The image, blurred beyond doubt."""
    return image.filter(ImageFilter.GaussianBlur(image.width / 12))


def _cell(native: int, count: int) -> int:
    """The side of an image on the sheet: a whole multiple of a small one, so that its pixels stay
    square.
    """
    room = SIDE // math.ceil(math.sqrt(count))
    return native * (room // native) if native <= room else room


def create_study(folder: Path, samples: Samples, settings: dict, database: str = "") -> Store:
    """A study in a new `folder`: its pictures, then its database (a file there, or an address such
    as postgresql://...), then study.json.

    `settings` are the other fields of `StudyDesign`. Raises `StudyError` for a folder that holds a
    study, and as design, samples and store do.
    """
    if (folder / STUDY_FILE).exists():
        raise StudyError(
            f"{folder} holds a study already, and it stays as it is; choose another folder"
        )
    design = StudyDesign(
        methods=samples.methods, prompts=samples.prompts, seeds=samples.seeds, **settings
    )  # before hours of rendering
    folder.mkdir(parents=True, exist_ok=True)
    design = replace(design, pictures=render_sheets(samples, folder))
    store = Store.create(database or folder / "study.db", design)
    content = json.dumps(
        {"title": design.title, "digest": design.digest, "database": without_password(database)},
        indent=1,
    )
    write_atomically(folder / STUDY_FILE, lambda part: part.write_text(content, encoding="utf-8"))
    return store
