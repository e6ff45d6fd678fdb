"""Reads other people's images for a study: METHOD's folder / PROMPT / image files, as file systems,
editors and image programs leave them.

Left out: hidden files and folders, and what systems add (`LITTER`). Every image becomes 8-bit RGB,
upright and on white; 16-bit grey is scaled. What cannot be read rightly is refused by its name.
"""

from __future__ import annotations

import unicodedata
from collections.abc import Iterable
from pathlib import Path

import numpy as np
from PIL import Image, ImageOps

from workbench.study.errors import StudyError

PAPER = "#ffffff"
IMAGES = (".png", ".jpg", ".jpeg", ".webp")
LITTER = (  # in lower case
    "__macosx",
    "thumbs.db",
    "desktop.ini",
    "$recycle.bin",
    "system volume information",
    "@eadir",
    "lost+found",
)

Files = dict[str, dict[str, list[Path]]]  # method -> prompt -> images in the order of their names


def images_of_prompts(folders: dict[str, Path], limit: int = 0) -> Files:
    """The image files of all prompts (or the first `limit`) in the methods' folders.

    Raises `StudyError` unless every method has every prompt, and for each prompt images of the
    same names, equally many for all.
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
    places = {
        prompt: [by_prompt[prompt] for by_prompt in prompt_folders.values()] for prompt in prompts
    }
    _check_names(files, places)
    return {
        method: {prompt: list(images.values()) for prompt, images in by_prompt.items()}
        for method, by_prompt in files.items()
    }


def opened(path: Path) -> Image.Image:
    """The image in 8-bit RGB, upright and on white.

    16-bit grey is scaled: value // 257. Raises `StudyError` for a file that cannot be read, for
    numbers without a range (32-bit, float), and for pictures larger than Pillow reads.
    """
    try:
        with Image.open(path) as image:
            upright = _eight_bit(path, ImageOps.exif_transpose(image), image.format or "")
            if not upright.has_transparency_data:
                return upright.convert("RGB")
            return Image.alpha_composite(
                Image.new("RGBA", upright.size, PAPER), upright.convert("RGBA")
            ).convert("RGB")
    except StudyError:
        raise
    except Image.DecompressionBombError as error:
        raise StudyError(
            f"{path} is too large to be read ({error}): make it smaller, in the same way for every "
            "method"
        ) from error
    except (OSError, SyntaxError, ValueError) as error:
        raise StudyError(f"{path} cannot be read as an image: {error}") from error


def _eight_bit(path: Path, image: Image.Image, format: str) -> Image.Image:
    """The image itself, or 16-bit grey in 8 bits: Pillow would cut all above 255 to white."""
    if image.mode.startswith("I;16") or (image.mode == "I" and format == "PNG"):
        values = np.asarray(image).astype(np.int64)
        grey = Image.fromarray((values // 257).astype(np.uint8))
        clear = image.info.get("transparency")
        if clear is not None:
            grey.putalpha(Image.fromarray(np.where(values == clear, 0, 255).astype(np.uint8)))
        return grey
    if image.mode in ("I", "F"):
        raise StudyError(
            f"{path} holds {'32-bit' if image.mode == 'I' else 'floating-point'} numbers, and "
            "nothing says which is white: save it with 8 or 16 bits"
        )
    return image


def _is_litter(path: Path) -> bool:
    return path.name.startswith(".") or path.name.lower() in LITTER


def _prompts_in(method: str, folder: Path) -> dict[str, Path]:
    """The folder of every prompt."""
    if not folder.is_dir():
        raise StudyError(f"there is no folder {folder} with the images of {method}")
    by_prompt: dict[str, Path] = {}
    for subfolder in sorted(path for path in folder.iterdir() if path.is_dir()):
        if _is_litter(subfolder):
            continue
        prompt = _prompt_of(subfolder)
        if (like := _same_to_the_eye(prompt, by_prompt)) is not None:
            raise StudyError(
                f"{by_prompt[like]} and {subfolder} both have the prompt “{prompt}”"
                f"{_difference(like, prompt)}: put their images into one folder, or correct one "
                "prompt"
            )
        by_prompt[prompt] = subfolder
    return by_prompt


def _prompt_of(folder: Path) -> str:
    text = folder / "prompt.txt"
    try:
        prompt = text.read_text(encoding="utf-8-sig").strip() if text.is_file() else folder.name
    except (OSError, ValueError) as error:
        raise StudyError(
            f"{text} cannot be read ({error}); write the prompt into it as UTF-8"
        ) from error
    if not prompt:
        raise StudyError(
            f"{text} is empty: write the prompt into it, or remove it to use the folder's name as "
            "the prompt"
        )
    return prompt


def _check_prompts(folder: Path, prompts: list[str], existing: dict[str, Path]) -> None:
    for prompt in prompts:
        if prompt in existing:
            continue
        if (like := _same_to_the_eye(prompt, existing)) is not None:
            raise StudyError(
                f"“{prompt}” of {existing[like]} only looks like another method's"
                f"{_difference(like, prompt)}: write both in the same way"
            )
        raise StudyError(
            f"{folder} has no images for “{prompt}”, which another method has; every method needs "
            "every prompt"
        )


def _same_to_the_eye(text: str, others: Iterable[str]) -> str | None:
    """One of the others that looks the same: equal but for its normal form, its spaces, and
    invisible characters.
    """
    seen = _visible(text)
    return next((other for other in others if _visible(other) == seen), None)


def _visible(text: str) -> str:
    seen = "".join(" " if ch.isspace() else ch for ch in unicodedata.normalize("NFC", text))
    return " ".join("".join(ch for ch in seen if not _is_invisible(ch)).split())


def _is_invisible(ch: str) -> bool:
    return unicodedata.category(ch) in ("Cf", "Cc") or "\ufe00" <= ch <= "\ufe0f"


def _difference(first: str, second: str) -> str:
    """Where two texts first differ, by the numbers and names of the characters; "" if equal."""
    if first == second:
        return ""
    place = next(
        (n for n, (a, b) in enumerate(zip(first, second)) if a != b), min(len(first), len(second))
    )

    def name(text: str) -> str:
        ch = text[place : place + 1]
        return f"U+{ord(ch):04X} {unicodedata.name(ch, '')}".strip() if ch else "its end"

    return f" (character {place + 1} is {name(first)} in the one, {name(second)} in the other)"


def _images_in(folder: Path) -> dict[str, Path]:
    """The image files by their names without an ending, in the order of these names."""
    files: dict[str, Path] = {}
    for path in sorted(folder.iterdir()):
        if path.suffix.lower() not in IMAGES or _is_litter(path) or not path.is_file():
            continue
        if path.stem in files:
            raise StudyError(
                f"{files[path.stem].name} and {path.name} in {folder} have the same name, and so "
                "the same seed: leave one out"
            )
        files[path.stem] = path
    return dict(sorted(files.items()))


def _check_names(
    files: dict[str, dict[str, dict[str, Path]]], folders: dict[str, list[Path]]
) -> None:
    """Raises `StudyError` unless all methods have images of the same seeds."""
    first, *others = files.values()
    for prompt, (folder, *other_folders) in folders.items():
        for other, other_folder in zip(others, other_folders):
            if odd := sorted(set(first[prompt]) ^ set(other[prompt])):
                like = _same_to_the_eye(odd[0], odd[1:])
                raise StudyError(
                    f"for “{prompt}”, {folder} and {other_folder} hold images with different "
                    f"names, and {odd[0]!r} is in only one of them"
                    f"{'' if like is None else _difference(odd[0], like)}: give every method an "
                    "image of each seed, named after the seed"
                )
    counts = {len(first[prompt]): prompt for prompt in folders}
    if len(counts) != 1 or 0 in counts:
        existing = (
            " and ".join(f"{count} of “{prompt}”" for count, prompt in sorted(counts.items()))
            or "none"
        )
        raise StudyError(
            "every prompt needs the same number of images, at least one, but there are "
            f"{existing} (counted are {', '.join(IMAGES)})"
        )
