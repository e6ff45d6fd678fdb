"""A recipe's files: their absolute paths, where they are found again after a move, and the digest
of a recipe by what its files hold.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path, PurePath

from workbench.core.recipe import Recipe
from workbench.io.digests import short_digest
from workbench.models.backends.parts import Parts
from workbench.models.embedded import EMBEDDED

FILES = ("teacher", "prompts", "embeddings")  # settings that may name a file or a folder


def content_digest(recipe: Recipe, teacher: Parts, prompts: Sequence[str]) -> str:
    """12 hexadecimal digits of a recipe with its files by content: the teacher by the digests of
    its parts, the prompts by their texts. Without files it is the recipe's own digest.
    """
    return replace(
        recipe,
        teacher=recipe.teacher if recipe.teacher in EMBEDDED else short_digest(dict(teacher)),
        prompts=short_digest(list(prompts)) if recipe.prompts else "",
        embeddings="",
    ).digest


def with_absolute_paths(recipe: Recipe) -> Recipe:
    """The recipe with absolute paths; names of embedded teachers and hub ids stay."""
    found = {name: getattr(recipe, name) for name in FILES}
    kept = found["teacher"]
    if kept in EMBEDDED or not Path(kept).exists():
        del found["teacher"]
    return replace(
        recipe, **{name: str(Path(path).absolute()) for name, path in found.items() if path}
    )


def with_found_paths(recipe: Recipe, folder: Path) -> Recipe:
    """The recipe of a run in `folder`, with every path that is not there any more replaced by
    where the file is found: beside the run or above it, as when both were moved together.
    """
    found = {name: _found(getattr(recipe, name), folder) for name in FILES}
    if recipe.teacher in EMBEDDED:
        del found["teacher"]
    return replace(recipe, **found)


def _found(path: str, folder: Path) -> str:
    if not path or Path(path).exists():
        return path
    parts = PurePath(path).parts
    tails = (
        [parts[start:] for start in range(1, len(parts))] if Path(path).is_absolute() else [parts]
    )
    for place in folder.absolute().parents:
        for tail in tails:
            if place.joinpath(*tail).exists():
                return str(place.joinpath(*tail))
    return path
