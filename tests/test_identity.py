"""The walk: every command that continues something, against every ingredient of what it shows.

Each ingredient is changed in turn in a folder that was there before, and the command makes its
result anew, or refuses; it never passes an earlier result on. Ingredients are taken from the
teacher's own parts and from the dataclasses of the requests, so that a new one is covered.
"""

import json
import shutil
from dataclasses import fields, replace
from pathlib import Path

import pytest
from safetensors.torch import load_file, save_file

from workbench.cli import main
from workbench.core.presets import SCENES
from workbench.core.recipe import Recipe
from workbench.evaluation.evaluation import Evaluation
from workbench.grid.generate import Cell, generate_grid, model_loader
from workbench.grid.request import GridRequest
from workbench.io.files import FolderError
from workbench.models.backends.embedding_cache import CachedBackend
from workbench.models.backends.parts import PIPELINE, folder_parts, part_files
from workbench.models.backends.source import open_teacher
from workbench.models.recipes import FILES, content_digest
from workbench.training.run import Run
from workbench.training.sweep import Scoring, Sweep
from workbench.training.train import train

TINY = replace(
    SCENES,
    teacher="teach",
    prompts="p.txt",
    rounds=1,
    batch=2,
    fake_updates_per_round=1,
    teacher_steps=2,
    k=1,
    student_steps=2,
    sample_every=0,
    precision="fp32",
)
PARTS = "pipeline scheduler text_encoder text_encoder_2 tokenizer tokenizer_2 transformer vae"
PARTS = PARTS.split()
EVALUATE = "evaluate --models teacher --teacher teach --prompts p.txt --seeds 2 --teacher-steps 2"
EVALUATE = [*EVALUATE.split(), "--metrics", "diversity", "--features", "lite0=32", "--out", "ev"]
STAGES = "stages star --models teacher --teacher teach --seeds 2 --teacher-steps 2 --branches 0"
STAGES = [*STAGES.split(), "--no-swap", "--no-gradients", "--out", "st"]


@pytest.fixture
def work(teacher_folder, tmp_path, monkeypatch):
    """A work folder with a teacher and a prompt file."""
    shutil.copytree(teacher_folder, tmp_path / "teach")
    (tmp_path / "p.txt").write_text("a red circle\ntwo stars\n")
    monkeypatch.chdir(tmp_path)
    return tmp_path


def bump(part: str) -> None:
    """Changes one ingredient of a part of the teacher: a weight in the middle of its largest
    tensor, else one of its settings.
    """
    if part == PIPELINE:
        change_setting(Path("teach/model_index.json"), "a_setting", 1)
        return
    files = part_files(Path("teach") / part)
    weights = next((path for path in files if path.suffix == ".safetensors"), None)
    if weights is None:
        (file,) = [path for path in files if path.name.endswith("config.json")]
        name, value = ("shift", 2.0) if part == "scheduler" else ("model_max_length", 11)
        change_setting(file, name, value)
        return
    tensors = load_file(weights)
    name = max(tensors, key=lambda name: tensors[name].numel())
    tensors[name].view(-1)[tensors[name].numel() // 2] += 0.5
    save_file(tensors, weights, metadata={"format": "pt"})


def change_setting(file: Path, name: str, value) -> None:
    values = json.loads(file.read_text())
    assert values.get(name) != value
    file.write_text(json.dumps(values | {name: value}))


def ran(words: list[str]) -> None:
    assert main([*words, "--device", "cpu"]) == 0


def each_part():
    """Every part of the teacher in turn, changed in place."""
    assert sorted(folder_parts("teach")) == PARTS
    shutil.copytree("teach", "whole")
    for part in PARTS:
        bump(part)
        yield part
        shutil.rmtree("teach")
        shutil.copytree("whole", "teach")


def earlier(folder: str, name: str) -> list[bytes]:
    return [path.read_bytes() for path in Path(folder).glob(f"earlier/*/{name}")]


def image_folders() -> set[str]:
    return {path.name for path in Path("ev/images").iterdir()}


def test_evaluate_makes_images_of_every_changed_part_anew(work):
    ran(EVALUATE)
    before, report = image_folders(), Path("ev/report.html").read_bytes()
    ran(EVALUATE)
    assert image_folders() == before
    for part in each_part():
        before = image_folders()
        ran(EVALUATE)
        assert len(image_folders() - before) == 1, part
        assert report in earlier("ev", "report.html"), part


def test_evaluate_makes_images_of_other_settings_anew(work):
    ran(EVALUATE)
    for option, value in (
        ("--noise", "official"),
        ("--teacher-steps", "3"),
        ("--guidance", "3"),
        ("--resolution", "32"),
    ):
        before = image_folders()
        ran([*EVALUATE, option, value])
        assert len(image_folders() - before) == 1, option
    Path("p.txt").write_text("a blue star\ntwo stars\n")
    before = Evaluation.open("ev").request
    ran(EVALUATE)
    assert Evaluation.open("ev").request.prompts.texts == ["a blue star", "two stars"]
    assert before != Evaluation.open("ev").request


def test_stages_record_every_changed_part_anew(work):
    def recorded() -> bytes:
        return Path("st/trajectories/teacher.safetensors").read_bytes()

    ran(STAGES)
    before = recorded()
    ran(STAGES)
    assert recorded() == before
    for part in each_part():
        ran(STAGES)
        assert recorded() != before, part
        assert before in earlier("st", "trajectories/teacher.safetensors"), part


def test_resume_refuses_every_changed_part(work):
    list(train(Run.create("run", TINY, "cpu")))
    for part in each_part():
        with pytest.raises(FolderError, match=rf"changed since round 1 of run: {part}\."):
            list(train(Run.open("run")))


def test_a_student_is_refused_on_a_teacher_of_any_other_part(work, capsys):
    list(train(Run.create("run", replace(TINY, lora=2), "cpu")))
    sample = "sample star --models run --teacher teach --seeds 1 --device cpu --out a.png".split()
    assert main(sample) == 0
    for part in each_part():
        capsys.readouterr()
        assert main(sample) == 1, part
        named = f"another teacher than the one that is open: {part} differ"
        assert named in capsys.readouterr().err
    bump("vae")
    assert main([*sample, "--accept-other-teacher"]) == 0
    words = " ".join(EVALUATE).replace("--models teacher", "--models run --accept-other-teacher")
    ran(words.replace("--teacher-steps 2", "").split())
    assert "trained on another teacher: vae differ" in Path("ev/report.md").read_text()


def test_a_sweep_trains_anew_on_another_teacher_or_other_prompts(work):
    def run() -> Path:
        (folder,) = Sweep({"one": TINY}, Path("sweep")).runs("one")
        return folder

    before = run()
    assert before == run()
    for part in each_part():
        assert run() != before, part
    assert run() == before
    shutil.copy("p.txt", "another-name.txt")
    (named,) = Sweep({"": replace(TINY, prompts="another-name.txt")}, Path("sweep")).runs("")
    assert named == before
    Path("p.txt").write_text("a blue star\ntwo stars\n")
    assert run() != before


def test_a_sweep_measures_anew_what_was_measured_on_something_else(work):
    scoring = Scoring(prompts="p.txt", seeds=2, metrics=("diversity",), features=("lite0=32",))
    sweep = Sweep({"one": TINY}, Path("sweep"), scoring=scoring, main=main)
    list(sweep.run())
    assert not sweep.failures
    assert sweep.teacher
    assert sweep.scored["one"]
    for item in fields(Scoring):
        value = getattr(scoring, item.name)
        other = {"prompts": "teach/prompts.txt", "limit": 1, "seeds": 3}.get(item.name, ("x",))
        assert other != value
        assert not replace(sweep, scoring=replace(scoring, **{item.name: other})).teacher, item.name
    Path("p.txt").write_text("a blue star\ntwo stars\n")
    assert not sweep.teacher
    assert not sweep.scored["one"]


def test_embeddings_of_another_encoder_have_another_folder(work):
    def folders(at: Path) -> set[str]:
        CachedBackend(open_teacher("teach"), ["a star"], at)
        return {path.name for path in at.iterdir()}

    known = folders(Path("embeddings"))
    for part in each_part():
        of_text = part.startswith(("text_encoder", "tokenizer", PIPELINE))
        found = folders(Path("embeddings"))
        assert len(found - known) == of_text, part
        known = found


def test_a_cell_says_every_part(work):
    request = GridRequest(("a star",), (0,), ("teacher",), teacher_steps=1)

    def settings() -> dict:
        backend = open_teacher("teach")
        events = generate_grid(request, backend, model_loader(request, backend, {}))
        (cell,) = [event for event in events if isinstance(event, Cell)]
        return cell.settings

    before = settings()
    assert before == settings()
    for part in each_part():
        assert settings()["teacher_parts"][part] != before["teacher_parts"][part]


def test_every_setting_of_a_recipe_is_another_run():
    parts, prompts = {"vae": "1"}, ["a star"]
    before = content_digest(TINY, parts, prompts)
    for item in fields(Recipe):
        if item.name in FILES:
            continue
        value = getattr(TINY, item.name)
        if item.metadata["choices"]:
            others = [other for other in item.metadata["choices"] if other != value]
        elif isinstance(value, bool):
            others = [not value]
        else:
            others = [value + 1, 2 * value + 2, value / 2]
        changed = None
        for other in others:
            try:
                changed = replace(TINY, **{item.name: type(value)(other)})
                break
            except ValueError:  # this one does not go with the rest
                continue
        assert changed, item.name
        assert content_digest(changed, parts, prompts) != before, item.name
    assert content_digest(TINY, {"vae": "2"}, prompts) != before
    assert content_digest(TINY, parts, ["a circle"]) != before
    assert content_digest(replace(TINY, teacher="elsewhere", prompts="q"), parts, prompts) == before
