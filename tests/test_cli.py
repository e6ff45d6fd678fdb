"""The command line as a user types it, on a tiny random pipeline."""

import dataclasses
import json
import re
import subprocess
import sys

import pytest
import torch
from PIL import Image

from workbench.cli import main
from workbench.core.presets import PRESETS
from workbench.core.recipe import Recipe
from workbench.models.published import PUBLISHED
from workbench.models.students import shipped_students


def arguments(teacher_folder, out):
    return [
        "train",
        "--preset",
        "scenes-dp-dmd",
        "--teacher",
        str(teacher_folder),
        "--prompts",
        str(teacher_folder / "prompts.txt"),
        "--rounds",
        "2",
        "--batch",
        "2",
        "--fake-updates-per-round",
        "2",
        "--teacher-steps",
        "4",
        "--k",
        "2",
        "--student-steps",
        "2",
        "--sample-every",
        "1",
        "--out",
        str(out),
        "--embeddings",
        str(out.parent / "embeddings"),
        "--device",
        "cpu",
    ]


def test_dry_run_prints_the_resolved_recipe_and_trains_nothing(capsys, tmp_path):
    assert (
        main(
            [
                "train",
                "--preset",
                "scenes-dmd",
                "--seed",
                "3",
                "--dry-run",
                "--out",
                str(tmp_path / "run"),
            ]
        )
        == 0
    )
    assert Recipe.from_json(capsys.readouterr().out) == dataclasses.replace(
        PRESETS["scenes-dmd"], seed=3
    )
    assert not (tmp_path / "run").exists()


def test_train_resume_sample_and_evaluate(teacher_folder, tmp_path, capsys):
    run = tmp_path / "run"
    assert main(arguments(teacher_folder, run)) == 0
    assert "2 rounds, 2 student updates, 4 fake updates" in capsys.readouterr().out
    assert main(arguments(teacher_folder, run)) == 1
    assert "already holds a run; resume it" in capsys.readouterr().err
    assert main(["resume", str(run), "--device", "cpu"]) == 0
    common = [
        "--teacher",
        str(teacher_folder),
        "--seeds",
        "3",
        "--device",
        "cpu",
        "--teacher-steps",
        "4",
    ]
    assert (
        main(
            [
                "sample",
                "a red circle",
                "two stars",
                "--models",
                f"teacher,{run}",
                "--out",
                str(tmp_path / "s.png"),
                *common,
            ]
        )
        == 0
    )
    assert Image.open(tmp_path / "s.png").size == (3 * 16, 2 * 2 * 16)
    assert (
        main(
            [
                "evaluate",
                "--models",
                f"teacher,{run}",
                "--prompts",
                str(teacher_folder / "prompts.txt"),
                "--out",
                str(tmp_path / "e"),
                *common,
            ]
        )
        == 0
    )
    assert (
        main(
            [
                "sample",
                "a star",
                "--models",
                str(run),
                "--seeds",
                "2",
                "--out",
                str(tmp_path / "own.png"),
                "--device",
                "cpu",
            ]
        )
        == 0
    )
    assert Image.open(tmp_path / "own.png").size == (2 * 16, 16)  # by the run's own teacher
    stages = [
        "stages",
        "a red circle",
        "--models",
        f"teacher,{run}",
        "--branches",
        "2",
        "--parents",
        "2",
        "--out",
        str(tmp_path / "stages"),
        *common,
    ]
    assert main(stages) == 0
    numbers = json.loads((tmp_path / "stages" / "numbers.json").read_text())
    assert len(numbers["swaps"]) == 6
    assert not numbers["left"]
    assert numbers["gradients"][0]["fake"] == "of round 2"
    assert (tmp_path / "stages" / "report.html").stat().st_size > 1e6
    assert len(list((tmp_path / "stages" / "trajectories").iterdir())) == 2
    assert main([*stages, "--seeds", "1"]) == 1
    assert main(["stages", "a red circle", "--models", "gone", *common]) == 1
    assert "Base Model" in (tmp_path / "e" / "report.md").read_text()
    capsys.readouterr()
    rescored = ["evaluate", "--rescore", "--out", str(tmp_path / "e"), "--device", "cpu"]
    assert main(["evaluate", "--rescore"]) == 1
    assert "name its folder with --out" in capsys.readouterr().err
    assert (
        main([*rescored, "--metrics", "diversity,kid", "--features", "lite0=32"]) == 1
    )  # the reference was not made
    told = capsys.readouterr().out
    assert "diversity lite0: lite0@32." in told
    assert "not done: kid of teacher: " in told
    assert main(["report", str(tmp_path / "e"), "--to", str(tmp_path / "both")]) == 0
    assert (tmp_path / "both" / "table-1.csv").exists()


def test_no_rounds_make_no_student_and_say_so(teacher_folder, tmp_path, capsys):
    command = arguments(teacher_folder, tmp_path / "run")
    command[command.index("--rounds") + 1] = "0"
    assert main(command) == 0
    told = capsys.readouterr().out
    assert "0 rounds, 0 student updates" in told
    assert "no student, which needs a round" in told
    assert main(["export", str(tmp_path / "run"), "--to", str(tmp_path / "out")]) == 1
    assert "holds no student; train it first" in capsys.readouterr().err


def test_plan_says_what_a_recipe_needs_and_what_would_make_it_fit(teacher_folder, capsys):
    common = [
        "plan",
        "--teacher",
        str(teacher_folder),
        "--mode",
        "lora",
        "--lora",
        "4",
        "--batch",
        "2",
        "--rounds",
        "10",
    ]
    assert main([*common, "--card", "a100", "--utilisation", "0.5"]) == 0  # the earlier name
    shown = capsys.readouterr().out
    assert main([*common, "--gpu", "a100", "--utilisation", "0.5"]) == 0
    assert capsys.readouterr().out == shown
    for part in (
        "adapters of rank 4",
        "16 px, batch 2",
        "optimizer states",
        "peak",
        "student update, teacher   12",
        "hours for 10 rounds on one a100 (estimate at 50% of its peak)",
        "24 GB: fits",
    ):
        assert part in shown
    assert main([*common, "--json"]) == 0
    numbers = json.loads(capsys.readouterr().out)
    assert numbers["peak"] == sum(numbers["parts"].values()) + max(numbers["phases"].values())
    assert numbers["settings_to_fit"] == {"24": {}, "48": {}, "80": {}}
    assert numbers["recipe"]["lora"] == 4


@pytest.mark.parametrize(
    "command",
    [
        "app",
        "train",
        "plan",
        "resume",
        "sample",
        "stages",
        "evaluate",
        "report",
        "models",
        "export",
        "study create",
        "scenes make-teacher",
    ],
)
def test_every_help_text_is_complete(command, capsys):
    with pytest.raises(SystemExit) as stopped:
        main([*command.split(), "--help"])
    assert stopped.value.code == 0
    shown = " ".join(capsys.readouterr().out.split())
    if command in ("train", "plan"):
        for item in dataclasses.fields(Recipe):
            assert "--" + item.name.replace("_", "-") in shown
            assert item.metadata["help"][:30] in shown


def test_models_lists_every_name_with_its_terms(capsys):
    assert main(["models"]) == 0
    shown = capsys.readouterr().out.splitlines()
    lines = {line.split()[0]: line for line in shown}
    assert lines.keys() == {*shipped_students("scenes"), *PUBLISHED}
    assert sum(line.split()[:2] == ["dp-dmd", "scenes-eps"] for line in shown) == 1
    for name, entry in PUBLISHED.items():
        assert all(
            part in lines[name]
            for part in (entry.teacher, f"{entry.steps} steps", entry.licence, entry.source)
        )
    assert "CFG 3" in lines["hyper-sd3"]
    assert "4 steps" in lines["dp-dmd"]


@pytest.mark.parametrize(
    ("given", "message"),
    [
        (["sample", "x", "--models", "dmd2-sdlx", "--device", "cpu"], "did you mean dmd2-sdxl"),
        (
            ["sample", "x", "--models", "dmd2-sdxl", "--device", "cpu"],
            "student of stabilityai/stable-diffusion-xl-base-1.0",
        ),
        (["train", "--k", "99"], "k = 99 is more than the teacher's teacher_steps"),
        (
            ["plan", "--teacher", "nowhere"],
            "there is no folder nowhere, and the planner knows no architecture of that name",
        ),
        (["plan", "--utilisation", "40"], "is not a share between 0 and 1"),
        (["resume", "nowhere"], "nowhere holds no run"),
        (
            ["train", "--teacher", "nowhere", "--prompts", "x", "--out", "{tmp}/run"],
            "neither a folder here nor in the hub cache",
        ),
    ],
)
def test_mistakes_end_in_one_line_with_the_way_out(given, message, capsys, tmp_path):
    assert main([part.replace("{tmp}", str(tmp_path)) for part in given]) == 1
    err = capsys.readouterr().err.strip().splitlines()[-1]
    assert err.startswith("workbench: ")
    assert message in err


def test_measuring_again_refuses_what_only_making_images_reads(tmp_path, capsys):
    command = [
        "evaluate",
        "--rescore",
        "--out",
        str(tmp_path),
        "--seeds",
        "2",
        "--noise",
        "official",
        "--image-seeds",
        "1",
    ]
    assert main(command) == 1
    assert "leave out --noise, --image-seeds, --seeds, or --rescore" in capsys.readouterr().err


@pytest.mark.skipif(torch.cuda.is_available(), reason="there is a GPU")
def test_a_gpu_that_is_not_there_is_told(tmp_path, capsys):
    assert (
        main(["sample", "a red circle", "--device", "cuda", "--out", str(tmp_path / "a.png")]) == 1
    )
    assert "there is no cuda here" in capsys.readouterr().err


def test_an_unknown_option_is_answered_by_its_command_with_the_nearest(capsys):
    for given, usage, message in (
        (["train", "--rouns", "3"], "train [OPTIONS]", "--rouns; did you mean --rounds?"),
        (["study", "serve", "x", "--prot=1"], "study serve [OPTIONS] STUDY", "mean --port?"),
        (["export", "run"], "export --to TO [OPTIONS] RUN", "are required: --to"),
    ):
        with pytest.raises(SystemExit) as stopped:
            main(given)
        assert stopped.value.code == 2
        first, second = capsys.readouterr().err.splitlines()
        assert first == f"usage: workbench {usage}"
        assert message in second


def test_the_version_is_that_of_the_project(capsys):
    with pytest.raises(SystemExit) as stopped:
        main(["--version"])
    assert stopped.value.code == 0
    assert re.fullmatch(r"workbench \d+\.\d+\.\d+\S*\n", capsys.readouterr().out)


def test_help_starts_quickly_because_nothing_heavy_is_imported():
    code = (
        "import sys, workbench.cli; workbench.cli._parser(); print([m for m in ('torch', "
        "'diffusers', 'transformers', 'gradio', 'numpy', 'plotly') if m in sys.modules])"
    )
    result = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True
    )
    assert result.stdout.strip() == "[]"
