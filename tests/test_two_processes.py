"""Two CPU processes (gloo) make the same global batch as one, and the same student to rounding."""

import json
import os
import subprocess
import sys
from pathlib import Path

import torch

SCRIPT = """
import sys, torch
torch.set_num_threads(1)
from tests.conftest import tiny_pipeline
from tests.test_distiller import distiller
from workbench.backends.sd3 import SD3Backend
from workbench.objectives import dmd_gan, dp_dmd

objective = {"dp_dmd": dp_dmd(0.05, 2), "dmd_gan": dmd_gan()}[sys.argv[3]]
d = distiller(SD3Backend(tiny_pipeline()), objective, accumulate=int(sys.argv[2]))
ours = [micro.x1 for micro in d._micros("student")]
steps = [(s.losses, s.grad_norm) for s in d.rounds(2)]
student = torch.cat([p.detach().flatten() for p in d.bare(d.student_network).parameters()])
torch.save({"x1": torch.cat(ours), "student": student, "steps": steps, "processes": d.accelerator.num_processes},
           f"{sys.argv[1]}.{d.accelerator.process_index}")
"""


def run(folder: Path, processes: int, accumulate: int = 1, method: str = "dp_dmd") -> list[dict]:
    out = folder / f"out-{processes}-{accumulate}"
    (folder / "script.py").write_text(SCRIPT)
    command = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node", str(processes),
               str(folder / "script.py"), str(out), str(accumulate), method]
    root = Path(__file__).parents[1]
    result = subprocess.run(command, cwd=root, capture_output=True, text=True, timeout=120,
                            env=os.environ | {"PYTHONPATH": str(root), "OMP_NUM_THREADS": "1"})
    assert result.returncode == 0, result.stderr[-3000:]
    return [torch.load(f"{out}.{rank}") for rank in range(processes)]


def test_two_processes_equal_one_with_the_same_global_batch(tmp_path):
    (one,), two = run(tmp_path, 1), run(tmp_path, 2)
    assert [part["processes"] for part in two] == [2, 2]
    assert torch.equal(one["x1"], torch.cat([part["x1"] for part in two]))  # other samples on each rank, together the same batch
    assert torch.equal(two[0]["student"], two[1]["student"])
    torch.testing.assert_close(two[0]["student"], one["student"], rtol=0, atol=2e-4)  # 2 AdamW steps of 1e-3
    for (a, norm_a), (b, norm_b) in zip(one["steps"], two[0]["steps"]):
        torch.testing.assert_close(torch.tensor(list(a.values())), torch.tensor(list(b.values())), rtol=1e-3, atol=1e-5)
        assert abs(norm_a / norm_b - 1) < 1e-2
    accumulated = run(tmp_path, 2, accumulate=2)
    torch.testing.assert_close(accumulated[0]["student"], one["student"], rtol=0, atol=2e-4)


def test_the_adversarial_head_is_shared_by_two_processes(tmp_path):
    (one,), two = run(tmp_path, 1, method="dmd_gan"), run(tmp_path, 2, method="dmd_gan")
    assert torch.equal(two[0]["student"], two[1]["student"])
    torch.testing.assert_close(two[0]["student"], one["student"], rtol=0, atol=2e-4)
    for (a, _), (b, _) in zip(one["steps"], two[0]["steps"]):
        torch.testing.assert_close(torch.tensor(list(a.values())), torch.tensor(list(b.values())), rtol=1e-3, atol=1e-5)


def test_two_processes_train_by_the_command_line_into_one_folder(teacher_folder, tmp_path):
    command = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2", "-m", "workbench", "train",
               "--teacher", str(teacher_folder), "--prompts", str(teacher_folder / "prompts.txt"), "--rounds", "2", "--batch", "2",
               "--fake-updates-per-round", "1", "--teacher-steps", "4", "--k", "2", "--student-steps", "2", "--sample-every", "0",
               "--embeddings", str(tmp_path / "embeddings"), "--device", "cpu", "--out", str(tmp_path / "run")]
    root = Path(__file__).parents[1]
    result = subprocess.run(command, cwd=root, capture_output=True, text=True, timeout=180, env=os.environ | {"OMP_NUM_THREADS": "1"})
    assert result.returncode == 0, result.stderr[-3000:]
    assert "2 rounds, 2 student updates, 2 fake updates" in result.stdout
    rows = [json.loads(line) for line in (tmp_path / "run" / "metrics.jsonl").read_text().splitlines()]
    assert [row["kind"] for row in rows] == ["fake", "student"] * 2 and (tmp_path / "run" / "student" / "student.json").exists()
