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
import math
import secrets
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
from PIL import Image, ImageFilter

from workbench.evaluation.evaluation import Evaluation
from workbench.io.files import write_atomically
from workbench.io.strict_json import to_json
from workbench.metrics.inputs import pictures
from workbench.models.sampling import seed_draws
from workbench.study.design import SPOILED, StudyDesign
from workbench.study.errors import StudyError
from workbench.study.folder import STUDY_FILE
from workbench.study.image_folders import PAPER, images_of_prompts, opened
from workbench.study.server.pictures import digest_of_sheets, outgoing_length
from workbench.study.store.database import without_password
from workbench.study.store.store import Store

SIDE, GAP = 900, 4  # pixels: about the width of a sheet; between its images


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
    `image_folders` says what is left out and how images are read. Raises `StudyError`.
    """
    files = images_of_prompts(folders, limit)
    prompts = next(iter(files.values()), {})
    count = max(map(len, prompts.values()), default=0)

    def images(method: str, prompt: str) -> list[Image.Image]:
        return [opened(path) for path in files[method][prompt]]

    return Samples(tuple(folders), tuple(prompts), tuple(range(count)), images)


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
    content = to_json({"sheets": sheets, "sha256": sha256, "length": length}, indent=1)
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
    content = to_json(
        {"title": design.title, "digest": design.digest, "database": without_password(database)},
        indent=1,
    )
    write_atomically(folder / STUDY_FILE, lambda part: part.write_text(content, encoding="utf-8"))
    return store
