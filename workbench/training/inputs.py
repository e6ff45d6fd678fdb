"""What a run is trained on, by content: its teacher's parts and its prompts, noted when it begins
and compared when it continues.

    manifest.json       "inputs": digests of the teacher's parts and of the prompts, the revision,
                        and the software; what changed since is in "changes"
    prompts.json        the prompts themselves, so that a run that moves has them with it

A change is never passed over: it is named, and refused unless it is accepted by name.
"""

from __future__ import annotations

import json
from collections.abc import Collection, Sequence
from pathlib import Path

from workbench.core.distiller import Distiller
from workbench.io.digests import short_digest
from workbench.io.files import FolderError, write_atomically
from workbench.io.hub import revision_of
from workbench.io.strict_json import to_json
from workbench.models.backends.parts import changed_parts
from workbench.models.identity import software
from workbench.models.recipes import content_digest
from workbench.training.build import new_distiller
from workbench.training.changes import changed_entry
from workbench.training.run import Run

PROMPTS = "prompts.json"


def run_distiller(run: Run, device: str = "cpu") -> Distiller:
    """The run's distiller at round 0. A prompt file that is not there any more is replaced by the
    prompts that the run kept. Raises `FolderError`, which names the run, for a teacher or a prompt
    file that it needs and that cannot be found.
    """
    recipe, prompts = run.recipe, None
    if recipe.prompts and not Path(recipe.prompts).exists():
        prompts = kept_prompts(run)
    try:
        return new_distiller(recipe, device, prompts)
    except ValueError as error:
        raise FolderError(f"{run.path}: {error}") from error


def kept_prompts(run: Run) -> list[str] | None:
    """The prompts that the run was last trained on; None if it has kept none. Raises `FolderError`
    for a damaged file.
    """
    file = run.path / PROMPTS
    try:
        return [str(prompt) for prompt in json.loads(file.read_text("utf-8"))]
    except FileNotFoundError:
        return None
    except (OSError, ValueError) as error:
        raise FolderError(
            f"{file} cannot be read: {error}; put the prompt file back to where it was, and delete "
            "this one"
        ) from error


def check_inputs(run: Run, distiller: Distiller, accepted: Collection[str] = ()) -> None:
    """Notes what the run trains on, or compares it with what is noted; called before a run begins
    or continues. `accepted` may name "prompts" and "teacher", which may then have changed, and
    that is noted too.

    Raises:
        FolderError: Something changed that is not accepted; names what, since when, and the ways
            out.
    """
    now = {
        "teacher": distiller.backend.parts,
        "prompts": short_digest(list(distiller.prompts)),
        "revision": revision_of(run.recipe.teacher),
        "software": software(),
    }
    before = run.manifest.get("inputs", {})
    changes = _changes(run, before, now, distiller.prompts)
    for name, change in changes.items():
        if name != "software" and name not in accepted:
            raise FolderError(_refusal(run, name, change))
    if before == now:
        return
    if distiller.accelerator.is_main_process:
        _note(run, distiller, now, changes)


def _changes(run: Run, before: dict, now: dict, prompts: Sequence[str]) -> dict[str, str]:
    """What changed, in words, by its name in `now`."""
    found = {}
    if before.get("teacher") and (parts := changed_parts(before["teacher"], now["teacher"])):
        found["teacher"] = ", ".join(parts)
    if before.get("prompts", now["prompts"]) != now["prompts"]:
        found["prompts"] = prompt_changes(kept_prompts(run) or [], prompts)
    if before.get("software", now["software"]) != now["software"]:
        found["software"] = ", ".join(
            f"{name} {before['software'].get(name)} -> {now['software'].get(name)}"
            for name in changed_parts(before["software"], now["software"])
        )
    return found


def prompt_changes(before: Sequence[str], after: Sequence[str]) -> str:
    """The difference between two lists of prompts in words: how many lines, and the first."""
    wrong = [line for line, pair in enumerate(zip(before, after), 1) if pair[0] != pair[1]]
    words = [] if len(before) == len(after) else [f"{len(before)} prompts became {len(after)}"]
    if wrong:
        one, other = before[wrong[0] - 1], after[wrong[0] - 1]
        words.append(
            f"{len(wrong)} of {len(before)} differ, first prompt {wrong[0]}: “{one[:60]}” is now "
            f"“{other[:60]}”"
        )
    return "; ".join(words)


def _refusal(run: Run, name: str, change: str) -> str:
    file = run.recipe.prompts if name == "prompts" else run.recipe.teacher
    what = Path(file).name if file else "the prompts"
    return (
        f"{what} changed since round {_round(run)} of {run.path}: {change}. Put the earlier "
        f"{name} back, train in a new folder, or continue on the changed {name} with "
        f"--accept-changed-{name}, which the manifest then says"
    )


def _round(run: Run) -> int:
    """The round of the last checkpoint."""
    checkpoints = run.checkpoints()
    return int(checkpoints[-1].stem.rpartition("-")[2]) if checkpoints else 0


def _note(run: Run, distiller: Distiller, now: dict, changes: dict[str, str]) -> None:
    """Writes manifest and prompts; earlier prompts stay beside them."""
    kept, done = kept_prompts(run), _round(run)
    prompts = list(distiller.prompts)
    if kept != prompts:
        if kept is not None:
            (run.path / PROMPTS).replace(run.path / f"prompts-until-round-{done:06d}.json")
        text = to_json(prompts, indent=0, ensure_ascii=False)
        write_atomically(run.path / PROMPTS, lambda part: part.write_text(text, "utf-8"))
    noted: dict = {"inputs": now}
    if not done:
        noted["digest"] = content_digest(run.recipe, distiller.backend.parts, prompts)
    else:  # a run of an earlier version continues on inputs that nobody noted
        inputs = {
            "changed": changes or {"inputs": "not known before this round"},
            "before": run.manifest.get("inputs"),
        }
        entry = changed_entry(run.manifest, done, inputs=inputs)
        if not changes.keys() & {"teacher", "prompts"}:  # the same recipe of the same things
            entry["digest"] = run.digest
        noted["changes"] = [*run.manifest.get("changes", ()), entry]
    run.update(**noted)
