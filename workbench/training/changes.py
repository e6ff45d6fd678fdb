"""Going on with a run by other settings, or from an earlier checkpoint: the way out after a
divergence, and the way to more rounds.

A change is kept in manifest.json, under "changes", with the round behind which it holds, the old
and the new values, and a digest of its own, for a run that changed is not the run of its last
recipe. The manifest's "recipe" stays the one that the run began with; `Run.recipe` is the one that
it came to. What lay behind the round is moved to a folder set-aside-N, and never deleted.
"""

from __future__ import annotations

import dataclasses
import difflib
import time
import typing
from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING, Any

from workbench.core.methods import check_trains
from workbench.core.recipe import Recipe
from workbench.io.digests import short_digest
from workbench.io.files import FolderError, write_atomically
from workbench.io.strict_json import to_json

if TYPE_CHECKING:
    from workbench.training.run import Run

# what a state of a run does not depend on; any other setting is a new run
CHANGEABLE = (
    "student_rate",
    "fake_rate",
    "weight_decay",
    "clip",
    "precision",
    "rounds",
    "checkpoint_every",
    "keep",
    "sample_every",
    "accumulate",
    "checkpointing",
    "offload",
    "compile",
    "tiling",
)


def changed_recipe(manifest: dict[str, Any]) -> Recipe:
    """The recipe that a run came to: the one it began with, and every change since."""
    values = dict(manifest["recipe"])
    for change in manifest.get("changes", ()):
        values |= {name: new for name, (_, new) in change["settings"].items()}
    return Recipe.from_json(to_json(values))


def changed_digest(manifest: dict[str, Any]) -> str:
    """12 hexadecimal digits that name the recipe and every change; the run's first ones without a
    change.
    """
    changes = manifest.get("changes")
    return changes[-1]["digest"] if changes else manifest["digest"]


def parsed(words: Iterable[str], recipe: Recipe) -> Recipe:
    """`recipe` with settings written NAME=VALUE. Raises ValueError for one that is unknown, that
    cannot change in the middle of a run, or whose value is wrong.
    """
    kinds, values = typing.get_type_hints(Recipe), {}
    for word in words:
        name, equals, text = word.partition("=")
        name = name.strip().lstrip("-").replace("-", "_")
        if not equals:
            raise ValueError(f"--set {word}: write NAME=VALUE, such as student_rate=1e-5")
        if name not in kinds:
            near = difflib.get_close_matches(name, CHANGEABLE, n=1)
            hint = f"did you mean {near[0]}?" if near else f"known: {', '.join(CHANGEABLE)}"
            raise ValueError(f"--set {word}: there is no setting {name}; {hint}")
        if name not in CHANGEABLE:
            raise ValueError(
                f"--set {word}: {name} cannot change in the middle of a run; train a new one. "
                f"Those that can: {', '.join(CHANGEABLE)}"
            )
        values[name] = _value(name, text.strip(), kinds[name])
    changed = dataclasses.replace(recipe, **values)
    check_trains(changed)
    same = [name for name in values if getattr(changed, name) == getattr(recipe, name)]
    if same:
        name = same[0]
        raise ValueError(f"{name} is {getattr(recipe, name)!r} already; leave --set {name} out")
    return changed


def _value(name: str, text: str, kind: type) -> Any:
    if kind not in (int, float):
        return text  # the recipe reads "on" and "off"
    try:
        return kind(text)
    except ValueError as error:
        raise ValueError(
            f"{name} = {text!r} is not a {'whole ' if kind is int else ''}number"
        ) from error


def change(run: Run, settings: Iterable[str] = (), checkpoint: str = "") -> None:
    """Makes `run` go on by other settings (each NAME=VALUE), and from an earlier checkpoint (such
    as round-000050; round-000000 is the start). Hold the run's lock.

    Raises:
        ValueError: As `parsed`, or rounds that are done already.
        FolderError: There is no such checkpoint.
    """
    recipe = parsed(settings, run.recipe)
    begun = _round_of(run, checkpoint)
    if recipe.rounds < begun:
        raise ValueError(
            f"rounds = {recipe.rounds}, but {begun} are done: set more, or go back with "
            "--from-checkpoint"
        )
    manifest = dict(run.manifest)
    kept = [entry for entry in manifest.get("changes", ()) if entry["from_round"] < begun]
    before = manifest | {"changes": kept}
    old, new = changed_recipe(before).to_dict(), recipe.to_dict()
    differing = {name: [old[name], new[name]] for name in new if old[name] != new[name]}
    if differing:
        kept = [*kept, changed_entry(before, begun, settings=differing)]
    _set_aside(run, begun)
    if kept or "changes" in manifest:
        manifest["changes"] = kept
    write_atomically(
        run.path / "manifest.json", lambda part: part.write_text(to_json(manifest, indent=1))
    )
    run.manifest = manifest
    run.log(kind="change", round=begun, settings=differing)


def changed_entry(
    manifest: dict[str, Any], begun: int, settings: dict | None = None, inputs: dict | None = None
) -> dict[str, Any]:
    """An entry of "changes": other settings, or other inputs (see `workbench.training.inputs`)."""
    changes = {"settings": settings or {}} | ({"inputs": inputs} if inputs else {})
    return {
        "from_round": begun,
        **changes,
        "digest": short_digest([changed_digest(manifest), begun, changes]),
        "made": time.strftime("%Y-%m-%dT%H:%M:%S%z"),
    }


def _round_of(run: Run, checkpoint: str) -> int:
    """The round of a checkpoint by its name; of the last one if there is no name."""
    rounds = {path.stem: int(path.stem.removeprefix("round-")) for path in run.checkpoints()}
    if not checkpoint:
        return max(rounds.values(), default=0)
    name = Path(checkpoint).name.removesuffix(".pt")
    name = f"round-{int(name):06d}" if name.isdecimal() else name
    if name == "round-000000":
        return 0
    if name not in rounds:
        there = ", ".join(rounds) or "none"
        raise FolderError(
            f"{run.path} has no checkpoint {checkpoint}; there are: {there} (and round-000000, the "
            "start)"
        )
    return rounds[name]


def _set_aside(run: Run, begun: int) -> None:
    """Moves the checkpoints and samples behind round `begun`, the newest first: an interruption
    leaves a run that can go on.
    """
    later = [
        path
        for kind in ("checkpoints/round-*.pt", "samples/round-*.png")
        for path in sorted(run.path.glob(kind), reverse=True)
        if int(path.stem.removeprefix("round-")) > begun
    ]
    if not later:
        return
    number = 1 + sum(1 for _ in run.path.glob("set-aside-*"))
    for path in later:
        to = run.path / f"set-aside-{number}" / path.parent.name / path.name
        to.parent.mkdir(parents=True, exist_ok=True)
        path.rename(to)


def way_out(run: Run, remedy: str) -> str:
    """How to go on after a divergence: from the last good checkpoint, by a setting that helps."""
    again = f"`python -m workbench resume {run.path} --set {remedy}`"
    last = run.checkpoints()
    if not last:
        return f"There is no checkpoint yet; {again} starts again."
    return f"The last good checkpoint is {last[-1]}; {again} continues from it."


def way_back(run: Run, remedy: str) -> str:
    """How to go on when the last checkpoint itself is not good: from the one before, or the
    start.
    """
    earlier = run.checkpoints()[:-1]
    name = earlier[-1].stem if earlier else "round-000000"
    return (
        f"The checkpoint {run.checkpoints()[-1]} is not good. `python -m workbench resume "
        f"{run.path} --from-checkpoint {name} --set {remedy}` goes on from "
        f"{'the one before' if earlier else 'the start'}."
    )
