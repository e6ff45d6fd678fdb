"""Creates a study and renders its pictures: one sheet of samples per prompt and method, all of one
size and format, under names that reveal nothing.

    stimuli/3f9c0a...png    a sheet: the images of one method for one prompt, seeds along the rows
    stimuli.json            {"sheets": {PROMPT: {METHOD: file, "spoiled METHOD": file}},
                             "sha256": {file: ...}, "length": N}, read by `server.pictures`
    study.json              the title, the digest and the database (`folder`)

Images come from an evaluation (`workbench.evaluation.evaluation`), or from folders with one folder
of images per prompt. A spoiled sheet, the wrong answer of a gold trial, repeats one of the images,
blurred: beyond doubt of lower quality. (Also of lower diversity, unless the method draws only one
image.)
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
from workbench.io.files import write_atomically
from workbench.metrics.inputs import pictures
from workbench.models.sampling import seed_draws
from workbench.study.design import SPOILED, StudyDesign
from workbench.study.errors import StudyError
from workbench.study.folder import STUDY_FILE
from workbench.study.server.pictures import digest_of_sheets, outgoing_length
from workbench.study.store.database import without_password
from workbench.study.store.store import Store

SIDE, GAP = 900, 4  # pixels: about the width of a sheet; between its images
PAPER = "#ffffff"
IMAGES = (".png", ".jpg", ".jpeg", ".webp")


@dataclass(frozen=True)
class Samples:
    """The images to show: `images(method, prompt)` gives one image per seed, in the order of the
    seeds.
    """

    methods: tuple[str, ...]
    prompts: tuple[str, ...]
    seeds: tuple[int, ...]
    images: Callable[[str, str], list[Image.Image]]
    noise: str = ""  # the policy of an evaluation's images


def samples_of_evaluation(folder: Path, methods: tuple[str, ...] = (), limit: int = 0) -> Samples:
    """The samples of an evaluation's models (all in its request, or `methods`) for its prompts
    (all, or the first `limit`).

    Raises `StudyError` for a model without images there, and for missing or broken images.
    """
    evaluation = Evaluation.open(folder)
    request, methods = evaluation.request, methods or evaluation.request.models
    for method in methods:
        if method not in evaluation.images:
            raise StudyError(
                f"the evaluation in {folder} has no images of {method}; it has those of "
                f"{', '.join(evaluation.images)}"
            )
    prompts = tuple(request.prompts.texts[: limit or None])

    def images(method: str, prompt: str) -> list[Image.Image]:
        store = evaluation.image_folder(method)
        (draws,) = seed_draws([prompt], request.seeds, request.noise)
        if len(store.checksums(draws)) < len(draws):
            raise StudyError(
                f"an image of {method} for “{prompt}” is missing or broken in {folder}: evaluate "
                "again into the same folder"
            )
        return pictures((store.read(draws) * 255).round().byte())

    return Samples(methods, prompts, request.seeds, images, request.noise)


def samples_of_folders(folders: dict[str, Path], limit: int = 0) -> Samples:
    """The samples in METHOD's folder / PROMPT / image files; the prompt is the text in its
    prompt.txt, or else the folder's name.

    Every method needs every prompt, and for each the same names of images (without .png and the
    like), because an image is named after its seed; they are shown in the order of their names.
    Transparent pixels become white. Raises `StudyError`.
    """
    prompt_folders = {method: _prompts_in(method, folder) for method, folder in folders.items()}
    first = next(iter(prompt_folders.values()), {})
    prompts = list(first)[: limit or None]
    for method, by_prompt in prompt_folders.items():
        _check_prompts(folders[method], prompts, by_prompt)
        if not limit:
            _check_prompts(next(iter(folders.values())), list(by_prompt), first)
    files = {
        method: {prompt: _images_in(by_prompt[prompt]) for prompt in prompts}
        for method, by_prompt in prompt_folders.items()
    }
    count = _check_names(
        files,
        {
            prompt: [by_prompt[prompt] for by_prompt in prompt_folders.values()]
            for prompt in prompts
        },
    )

    def images(method: str, prompt: str) -> list[Image.Image]:
        return [_opened(path) for path in files[method][prompt].values()]

    return Samples(tuple(folders), tuple(prompts), tuple(range(count)), images)


def _prompts_in(method: str, folder: Path) -> dict[str, Path]:
    """The folder of every prompt."""
    if not folder.is_dir():
        raise StudyError(f"there is no folder {folder} with the images of {method}")
    by_prompt: dict[str, Path] = {}
    for subfolder in sorted(path for path in folder.iterdir() if path.is_dir()):
        text = subfolder / "prompt.txt"
        try:
            prompt = text.read_text(encoding="utf-8").strip() if text.is_file() else subfolder.name
        except (OSError, ValueError) as error:
            raise StudyError(
                f"{text} cannot be read ({error}); write the prompt into it as UTF-8"
            ) from error
        if not prompt:
            raise StudyError(
                f"{text} is empty: write the prompt into it, or remove it to use the folder's name "
                "as the prompt"
            )
        if prompt in by_prompt:
            raise StudyError(
                f"{by_prompt[prompt]} and {subfolder} both have the prompt “{prompt}”: put their "
                "images into one folder, or correct one prompt"
            )
        by_prompt[prompt] = subfolder
    return by_prompt


def _check_prompts(folder: Path, prompts: list[str], existing: dict[str, Path]) -> None:
    if missing := [prompt for prompt in prompts if prompt not in existing]:
        raise StudyError(
            f"{folder} has no images for “{missing[0]}”, which another method has; every method "
            "needs every prompt"
        )


def _images_in(folder: Path) -> dict[str, Path]:
    """The image files by their names without an ending, in the order of these names."""
    files: dict[str, Path] = {}
    for path in sorted(path for path in folder.iterdir() if path.suffix.lower() in IMAGES):
        if path.stem in files:
            raise StudyError(
                f"{files[path.stem].name} and {path.name} in {folder} have the same name, and so "
                "the same seed: leave one out"
            )
        files[path.stem] = path
    return dict(sorted(files.items()))


def _check_names(
    files: dict[str, dict[str, dict[str, Path]]], folders: dict[str, list[Path]]
) -> int:
    """The number of images per method and prompt. Raises `StudyError` unless all methods have
    images of the same seeds.
    """
    first, *others = files.values()
    for prompt, (folder, *other_folders) in folders.items():
        for other, other_folder in zip(others, other_folders):
            if odd := sorted(set(first[prompt]) ^ set(other[prompt])):
                raise StudyError(
                    f"for “{prompt}”, {folder} and {other_folder} hold images with different "
                    f"names, and {odd[0]!r} is in only one of them: give every method an image of "
                    "each seed, named after the seed"
                )
    counts = {len(first[prompt]): prompt for prompt in folders}
    if len(counts) != 1 or 0 in counts:
        existing = (
            " and ".join(f"{count} of “{prompt}”" for count, prompt in sorted(counts.items()))
            or "none"
        )
        raise StudyError(
            f"every prompt needs the same number of images, at least one, but there are {existing}"
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
    """Writes the sheets of all methods and prompts, then stimuli.json; returns their digest, to be
    stored in the design.

    Raises `StudyError` as the samples do, and for images of different sizes, which enlargement
    would reveal.
    """
    stimuli, sheets, sha256, length, size = folder / "stimuli", {}, {}, 0, None
    stimuli.mkdir(parents=True, exist_ok=True)
    for prompt in samples.prompts:
        for method in samples.methods:
            images = samples.images(method, prompt)
            size = size or images[0].size
            if any(image.size != size or image.width != image.height for image in images):
                raise StudyError(
                    f"all images of a study must be squares of one size, but {method} has some of "
                    f"{images[0].width} x {images[0].height} for “{prompt}”: resize them first, in "
                    "the same way for every method"
                )
            side = _cell(size[0], len(images))
            for name, shown in (
                (method, images),
                (f"{SPOILED} {method}", [spoiled(images[0])] * len(images)),
            ):
                file = f"{secrets.token_hex(12)}.png"
                sheet = contact_sheet(shown, side)
                sheet.save(stimuli / file)  # without any of the images' metadata
                sheets.setdefault(prompt, {})[name] = file
                sha256[file] = hashlib.sha256((stimuli / file).read_bytes()).hexdigest()
                length = max(length, outgoing_length(np.array(sheet)))
    content = json.dumps({"sheets": sheets, "sha256": sha256, "length": length}, indent=1)
    write_atomically(
        folder / "stimuli.json", lambda part: part.write_text(content, encoding="utf-8")
    )
    return digest_of_sheets(sheets, sha256)


def contact_sheet(images: list[Image.Image], side: int) -> Image.Image:
    """The images, each `side` pixels wide and high, in a grid as square as possible."""
    columns = math.ceil(math.sqrt(len(images)))
    rows = math.ceil(len(images) / columns)
    sheet = Image.new("RGB", (columns * (side + GAP) - GAP, rows * (side + GAP) - GAP), PAPER)
    for n, image in enumerate(images):
        method = Image.Resampling.NEAREST if side >= image.width else Image.Resampling.LANCZOS
        sheet.paste(
            image.resize((side, side), method),
            (n % columns * (side + GAP), n // columns * (side + GAP)),
        )
    return sheet


def spoiled(image: Image.Image) -> Image.Image:
    """The image, visibly blurred."""
    return image.filter(ImageFilter.GaussianBlur(image.width / 12))


def _cell(native: int, count: int) -> int:
    """The side of an image on the sheet: a whole multiple for small images, so that their pixels
    stay square.
    """
    room = SIDE // math.ceil(math.sqrt(count))
    return native * (room // native) if native <= room else room


def create_study(folder: Path, samples: Samples, settings: dict, database: str = "") -> Store:
    """Creates a study in `folder`: its pictures, then its database (a file there, or an address
    such as postgresql://...), then study.json.

    `settings` are the other fields of `StudyDesign`. Raises `StudyError` for a folder with a study,
    and as design, samples and store do.
    """
    if (folder / STUDY_FILE).exists():
        raise StudyError(
            f"{folder} already holds a study, which stays unchanged; choose another folder"
        )
    design = StudyDesign(
        methods=samples.methods,
        prompts=samples.prompts,
        seeds=samples.seeds,
        noise=samples.noise,
        **settings,
    )  # raises before hours of rendering
    folder.mkdir(parents=True, exist_ok=True)
    design = replace(design, pictures=render_sheets(samples, folder))
    store = Store.create(database or folder / "study.db", design)
    content = json.dumps(
        {"title": design.title, "digest": design.digest, "database": without_password(database)},
        indent=1,
    )
    write_atomically(folder / STUDY_FILE, lambda part: part.write_text(content, encoding="utf-8"))
    return store
