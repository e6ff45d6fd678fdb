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

deepspeed = importlib.util.find_spec("deepspeed") is not None
SCRIPT = """
import sys, torch
from torch.distributed.tensor import DTensor
torch.set_num_threads(1)
from tests.support.pipelines import tiny_pipeline
from tests.support.distilling import distiller
from workbench.models.backends.sd3 import SD3Backend
from workbench.core.objectives import dmd_gan, dp_dmd

objective = {"dp_dmd": dp_dmd(0.05, 2), "dmd_gan": dmd_gan()}[sys.argv[3]]
d = distiller(SD3Backend(tiny_pipeline()), objective, accumulate=int(sys.argv[2]))
ours = [micro.x1 for micro in d.draws("student", 0)]
steps = [(s.losses, s.grad_norm) for s in d.rounds(2)]
kinds = {type(p).__name__ for p in d.learners["student"].bare.parameters()}
student = torch.cat([p.full_tensor().flatten() if isinstance(p, DTensor) else p.detach().flatten()
                     for p in d.learners["student"].bare.parameters()])
torch.save({"x1": torch.cat(ours), "student": student, "steps": steps, "processes": d.accelerator.num_processes, "kinds": kinds},
           f"{sys.argv[1]}.{d.accelerator.process_index}")
d.accelerator.end_training()
"""
THE_COMMAND_LINE = """
import torch
from workbench.cli import main

status = main()
assert not torch.distributed.is_initialized(), "the processes' exchange was left open: its threads can abort the end of Python"
raise SystemExit(status)
"""


ROOT = Path(__file__).parents[2]


def launch(processes: int, kind: str, *command: str) -> subprocess.CompletedProcess:
    """By `accelerate launch` with a shipped configuration; one process by plain Python."""
    accelerate = [
        "-m",
        "accelerate.commands.launch",
        "--config_file",
        f"workbench/training/launch/{kind}.yaml",
        "--num_processes",
        str(processes),
    ]
    return subprocess.run(
        [sys.executable, *(accelerate if processes > 1 else []), *command],
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=180,
        env=os.environ
        | {
            "PYTHONPATH": os.pathsep.join([str(ROOT), *sys.path]),
            "OMP_NUM_THREADS": "1",
            "DS_ACCELERATOR": "cpu",
        },
    )


def run(
    folder: Path, processes: int, kind: str = "ddp", accumulate: int = 1, method: str = "dp_dmd"
) -> list[dict]:
    out = folder / f"out-{processes}-{accumulate}"
    (folder / "script.py").write_text(SCRIPT)
    result = launch(processes, kind, str(folder / "script.py"), str(out), str(accumulate), method)
    assert result.returncode == 0, result.stderr[-3000:]
    return [torch.load(f"{out}.{rank}") for rank in range(processes)]


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
        pytest.param(
            "deepspeed",
            "Parameter",
            marks=pytest.mark.skipif(not deepspeed, reason="needs the package deepspeed"),
        ),
    ],
)
def test_two_processes_equal_one_with_the_same_global_batch(kind, tensors, tmp_path):
    (one,), two = run(tmp_path, 1), run(tmp_path, 2, kind)
    assert [part["processes"] for part in two] == [2, 2]
    assert all(part["kinds"] == {tensors} for part in two)
    assert torch.equal(
        one["x1"], torch.cat([part["x1"] for part in two])
    )  # other samples on each rank, together the same batch
    assert_trained_alike(one, two)
    accumulated = run(tmp_path, 2, kind, accumulate=2)
    torch.testing.assert_close(accumulated[0]["student"], one["student"], rtol=0, atol=2e-4)


def test_the_adversarial_head_is_shared_by_two_processes(tmp_path):
    (one,), two = run(tmp_path, 1, method="dmd_gan"), run(tmp_path, 2, method="dmd_gan")
    assert_trained_alike(one, two)


def test_what_cannot_be_split_is_refused(tmp_path):
    (tmp_path / "script.py").write_text(SCRIPT)
    result = launch(2, "fsdp2", str(tmp_path / "script.py"), str(tmp_path / "out"), "1", "dmd_gan")
    assert result.returncode != 0
    assert "FSDP2 does not go with method dmd_gan" in result.stderr


def workbench(processes: int, kind: str, *command: str) -> str:
    result = launch(processes, kind, "-m", "workbench", *command, "--device", "cpu")
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
        pytest.param("deepspeed", marks=pytest.mark.skipif(not deepspeed, reason="its package")),
    ],
)
def test_a_sharded_run_goes_on_from_its_checkpoint_on_two_processes_and_on_one(
    kind, teacher_folder, tmp_path
):
    whole, parts, one = tmp_path / "whole", tmp_path / "parts", tmp_path / "one"
    workbench(
        2,
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
    workbench(2, kind, "resume", str(parts))
    workbench(1, "", "resume", str(one))
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
