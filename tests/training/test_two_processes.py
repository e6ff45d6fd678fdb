"""Two CPU processes (gloo) make the same global batch as one, and the same student to rounding;
whole (DDP) or split (FSDP2).
"""

import importlib.util
import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file

from tests.support.distilling import trained
from tests.support.timing import seconds
from workbench.cli import main

needs_deepspeed = pytest.mark.skipif(
    importlib.util.find_spec("deepspeed") is None, reason="needs the package deepspeed"
)
SCRIPT = """
import sys
import torch

torch.set_num_threads(1)
from tests.support.distilling import trained

for case in sys.argv[2:]:
    method, accumulate = case.split("-")
    result = trained(method, int(accumulate))
    torch.save(result, f"{sys.argv[1]}/{case}.{result['rank']}")
torch.distributed.destroy_process_group()
"""
THE_COMMAND_LINE = """
import torch
from workbench.cli import main

status = main()
left_open = "the processes' exchange was left open: its threads can abort the end of Python"
assert not torch.distributed.is_initialized(), left_open
raise SystemExit(status)
"""
ROOT = Path(__file__).parents[2]


def launch(processes: int, kind: str, *command: str) -> subprocess.CompletedProcess:
    """By `accelerate launch` with a shipped configuration."""
    accelerate = [
        "-m",
        "accelerate.commands.launch",
        "--config_file",
        f"workbench/training/launch/{kind}.yaml",
        "--num_processes",
        str(processes),
    ]
    return subprocess.run(
        [sys.executable, *accelerate, *command],
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=seconds(600),
        env=os.environ
        | {
            "PYTHONPATH": os.pathsep.join([str(ROOT), *sys.path]),
            "OMP_NUM_THREADS": "1",
            "DS_ACCELERATOR": "cpu",
        },
    )


def trained_by_two(folder: Path, kind: str, *cases: str) -> dict[str, list[dict]]:
    """The result of each process for each case METHOD-ACCUMULATE, all trained by one launch."""
    (folder / "script.py").write_text(SCRIPT)
    result = launch(2, kind, str(folder / "script.py"), str(folder), *cases)
    assert result.returncode == 0, result.stderr[-3000:]
    return {case: [torch.load(folder / f"{case}.{rank}") for rank in range(2)] for case in cases}


@pytest.fixture(scope="module")
def one():
    """The same training by this process alone, by method."""
    return {method: trained(method) for method in ("dp_dmd", "dmd_gan")}


@pytest.fixture(scope="module")
def ddp(tmp_path_factory):
    folder = tmp_path_factory.mktemp("ddp")
    return trained_by_two(folder, "ddp", "dp_dmd-1", "dp_dmd-2", "dmd_gan-1")


@pytest.fixture(scope="module")
def fsdp2(tmp_path_factory):
    return trained_by_two(tmp_path_factory.mktemp("fsdp2"), "fsdp2", "dp_dmd-1", "dp_dmd-2")


@pytest.fixture(scope="module")
def deepspeed(tmp_path_factory):
    """Two launches: a process has one DeepSpeed configuration."""
    folder = tmp_path_factory.mktemp("deepspeed")
    return trained_by_two(folder, "deepspeed", "dp_dmd-1") | trained_by_two(
        folder, "deepspeed", "dp_dmd-2"
    )


def assert_trained_alike(one: dict, two: list[dict]) -> None:
    assert torch.equal(two[0]["student"], two[1]["student"])
    torch.testing.assert_close(
        two[0]["student"], one["student"], rtol=0, atol=2e-4
    )  # 2 AdamW steps of 1e-3
    for (a, norm_a), (b, norm_b) in zip(one["steps"], two[0]["steps"]):
        torch.testing.assert_close(
            torch.tensor(list(a.values())), torch.tensor(list(b.values())), rtol=1e-3, atol=1e-5
        )
        assert abs(norm_a / norm_b - 1) < 1e-2


@pytest.mark.parametrize(
    ("kind", "tensors"),
    [
        ("ddp", "Parameter"),
        ("fsdp2", "DTensor"),
        pytest.param("deepspeed", "Parameter", marks=needs_deepspeed),
    ],
)
def test_two_processes_equal_one_with_the_same_global_batch(kind, tensors, one, request):
    results, alone = request.getfixturevalue(kind), one["dp_dmd"]
    two, accumulated = results["dp_dmd-1"], results["dp_dmd-2"]
    assert [result["processes"] for result in two] == [2, 2]
    assert all(result["kinds"] == {tensors} for result in two)
    # other samples on each rank, and all of them are the same batch
    assert torch.equal(alone["x1"], torch.cat([result["x1"] for result in two]))
    assert_trained_alike(alone, two)
    torch.testing.assert_close(accumulated[0]["student"], alone["student"], rtol=0, atol=2e-4)


def test_the_adversarial_head_is_shared_by_two_processes(ddp, one):
    assert_trained_alike(one["dmd_gan"], ddp["dmd_gan-1"])


def test_what_cannot_be_split_is_refused(tmp_path):
    (tmp_path / "script.py").write_text(SCRIPT)
    result = launch(2, "fsdp2", str(tmp_path / "script.py"), str(tmp_path), "dmd_gan-1")
    assert result.returncode != 0
    assert "FSDP2 does not support method dmd_gan" in result.stderr


def workbench(kind: str, *command: str) -> str:
    result = launch(2, kind, "-m", "workbench", *command, "--device", "cpu")
    assert result.returncode == 0, result.stderr[-3000:]
    return result.stdout


def small(teacher: Path, rounds: int) -> list[str]:
    return [
        "--teacher",
        str(teacher),
        "--prompts",
        str(teacher / "prompts.txt"),
        "--rounds",
        str(rounds),
        "--batch",
        "2",
        "--fake-updates-per-round",
        "1",
        "--teacher-steps",
        "4",
        "--k",
        "2",
        "--student-steps",
        "2",
        "--ema",
        "0.5",
        "--precision",
        "fp32",
    ]


def test_two_processes_train_by_the_command_line_into_one_folder(teacher_folder, tmp_path):
    (tmp_path / "script.py").write_text(THE_COMMAND_LINE)
    result = launch(
        2,
        "ddp",
        str(tmp_path / "script.py"),
        "train",
        *small(teacher_folder, 2),
        "--sample-every",
        "0",
        "--embeddings",
        str(tmp_path / "embeddings"),
        "--out",
        str(tmp_path / "run"),
        "--device",
        "cpu",
    )
    assert result.returncode == 0, result.stderr[-3000:]
    assert "2 rounds, 2 student updates, 2 fake updates" in result.stdout
    rows = [
        json.loads(line) for line in (tmp_path / "run" / "metrics.jsonl").read_text().splitlines()
    ]
    assert [row["kind"] for row in rows] == ["fake", "student"] * 2
    assert (tmp_path / "run" / "student" / "student.json").exists()


@pytest.mark.parametrize(
    "kind",
    [
        "fsdp2",
        pytest.param("deepspeed", marks=needs_deepspeed),
    ],
)
def test_a_sharded_run_goes_on_from_its_checkpoint_on_two_processes_and_on_one(
    kind, teacher_folder, tmp_path
):
    whole, parts, one = tmp_path / "whole", tmp_path / "parts", tmp_path / "one"
    workbench(
        kind,
        "train",
        *small(teacher_folder, 3),
        "--sample-every",
        "3",
        "--checkpoint-every",
        "2",
        "--out",
        str(whole),
    )
    for folder in (parts, one):  # as if it had been interrupted after round 2
        shutil.copytree(whole, folder)
        (folder / "checkpoints" / "round-000003.pt").unlink()
    workbench(kind, "resume", str(parts))
    assert main(["resume", str(one), "--device", "cpu"]) == 0
    student, again, alone = (
        load_file(folder / "student" / "diffusion_pytorch_model.safetensors")
        for folder in (whole, parts, one)
    )
    assert all(torch.equal(student[name], again[name]) for name in student)
    for name, tensor in student.items():
        torch.testing.assert_close(alone[name], tensor, rtol=0, atol=1e-3)
    assert (
        json.loads((whole / "student" / "config.json").read_text())["_class_name"]
        == "SD3Transformer2DModel"
    )
    assert len(list((whole / "samples").iterdir())) == 1
