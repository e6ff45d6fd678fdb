"""Trajectories in memory and on disk, and pictures that are decoded on first use."""

from dataclasses import replace

import pytest
import torch

from workbench.stages.trajectory import Trajectory, TrajectoryImages, downsampled, trajectory_bytes


def made(seeds=(0, 1, 2), steps=4) -> Trajectory:
    generator = torch.Generator().manual_seed(sum(seeds))
    x0, x_t = (
        torch.randn(n, len(seeds), 4, 8, 8, generator=generator).half() for n in (steps, steps + 1)
    )
    times = torch.linspace(1, 0, steps + 1)
    return Trajectory(
        "two stars",
        "teacher",
        seeds,
        times,
        torch.stack([1 - times, times], 1),
        x0,
        x_t,
        {"steps": steps, "weights": "ab"},
    )


def test_a_saved_trajectory_is_opened_again(tmp_path):
    kept = made()
    kept.save(tmp_path / "t.safetensors")
    again = Trajectory.open(tmp_path / "t.safetensors")
    for name in ("times", "alpha_sigma", "x0", "x_t"):
        assert torch.equal(getattr(again, name), getattr(kept, name))
        assert getattr(again, name).dtype == getattr(kept, name).dtype
    assert (again.prompt, again.model, again.seeds, again.settings) == (
        kept.prompt,
        kept.model,
        kept.seeds,
        kept.settings,
    )
    assert (tmp_path / "t.safetensors").stat().st_size < trajectory_bytes((4, 8, 8), 4, 3) + 2000


def test_a_size_that_can_be_planned_with():
    kept = made()
    assert kept.x0.nbytes + kept.x_t.nbytes == trajectory_bytes((4, 8, 8), 4, 3)
    assert trajectory_bytes((16, 128, 128), 30, 9) == pytest.approx(
        0.288e9, rel=0.01
    )  # 9 seeds x 30 steps at 1024 px


def test_other_files_are_refused(tmp_path):
    (tmp_path / "t.safetensors").write_bytes(b"no trajectory")
    for path in (tmp_path / "t.safetensors", tmp_path / "nowhere.safetensors"):
        with pytest.raises(ValueError, match="is not a recorded trajectory"):
            Trajectory.open(path)


def test_tensors_that_do_not_fit_together_are_refused(tmp_path):
    replace(made(), x_t=made().x_t[:3]).save(tmp_path / "t.safetensors")
    with pytest.raises(ValueError, match="the shapes of x_t do not fit"):
        Trajectory.open(tmp_path / "t.safetensors")


def test_pictures_that_are_not_finite_are_refused():
    with pytest.raises(ValueError, match="the pictures of teacher at step 2 are not finite"):
        TrajectoryImages(made(), lambda latents: latents[:, :3] * float("nan"))[1]


def test_groups_of_seeds_are_put_together_and_taken_apart():
    whole = Trajectory.cat([made((0, 1)), made((2, 5))])
    assert whole.seeds == (0, 1, 2, 5)
    assert whole.x0.shape[1] == 4
    assert torch.equal(whole.first(2).x_t, made((0, 1)).x_t)
    assert len(whole) == 4


def test_pictures_are_decoded_once_and_only_when_looked_at():
    kept, decoded = made(), []

    def decode(latents):
        decoded.append(latents.clone())
        return latents[:, :3].sigmoid()

    pictures = TrajectoryImages(kept, decode)
    assert not decoded
    torch.testing.assert_close(pictures[2], kept.x0[2, :, :3].float().sigmoid(), atol=0.003, rtol=0)
    pictures[2]
    assert len(decoded) == 1
    torch.testing.assert_close(
        pictures.final, kept.x_t[4, :, :3].float().sigmoid(), atol=0.003, rtol=0
    )
    assert [step.shape for step in pictures.beliefs] == [(3, 3, 8, 8)] * 4
    assert len(decoded) == 5
    with pytest.raises(IndexError):
        pictures[5]


def test_large_pictures_are_averaged_down():
    images = torch.rand(2, 3, 3, 64, 64)
    small = downsampled(images, 16)
    torch.testing.assert_close(small[1, 2, 0, 3, 5], images[1, 2, 0, 12:16, 20:24].mean())
    assert downsampled(images, 64) is images
