import pytest
import torch
from diffusers import EulerDiscreteScheduler, FlowMatchEulerDiscreteScheduler

from workbench.core.schedules import FlowSchedule, VPSchedule, perturb
from workbench.core.seeds import stream


@pytest.mark.parametrize("shift", [1.0, 3.0])
@pytest.mark.parametrize("steps", [1, 4, 30])
def test_diffusers_grid_is_that_of_the_diffusers_scheduler(shift, steps):
    scheduler = FlowMatchEulerDiscreteScheduler(shift=shift)
    scheduler.set_timesteps(steps)
    torch.testing.assert_close(
        FlowSchedule(shift).sampling_times(steps, "diffusers"), scheduler.sigmas, rtol=0, atol=2e-7
    )


def test_fourth_step_of_the_released_grid_does_next_to_nothing_and_the_even_one_does_its_share():
    released = FlowSchedule(3.0).sampling_times(4, "diffusers")
    even = FlowSchedule(3.0).sampling_times(4, "even")
    torch.testing.assert_close(
        released, torch.tensor([1, 0.8577, 0.6022, 0.00893, 0]), rtol=0, atol=1e-4
    )
    torch.testing.assert_close(even, torch.tensor([1, 0.9, 0.75, 0.5, 0]), rtol=0, atol=1e-6)


def test_vp_schedule_agrees_with_diffusers_alphas_and_even_times_are_trailing():
    scheduler = EulerDiscreteScheduler(
        beta_schedule="scaled_linear",
        beta_start=0.00085,
        beta_end=0.012,
        timestep_spacing="trailing",
    )
    schedule = VPSchedule.scaled_linear()
    index = torch.tensor([0, 1, 499, 999])
    alpha, sigma = schedule.alpha_sigma((index + 1) / 1000)
    torch.testing.assert_close(alpha, scheduler.alphas_cumprod[index].sqrt(), rtol=1e-5, atol=0)
    torch.testing.assert_close(alpha**2 + sigma**2, torch.ones(4), rtol=0, atol=1e-6)
    scheduler.set_timesteps(4)
    times = schedule.sampling_times(4, "even")
    torch.testing.assert_close(
        times[:-1] * 1000 - 1, scheduler.timesteps.float(), rtol=0, atol=1e-3
    )
    alpha, sigma = schedule.alpha_sigma(times)
    torch.testing.assert_close(sigma / alpha, scheduler.sigmas, rtol=1e-4, atol=1e-6)


def test_vp_leading_times_are_those_of_the_sdxl_scheduler():
    scheduler = EulerDiscreteScheduler(
        beta_schedule="scaled_linear",
        beta_start=0.00085,
        beta_end=0.012,
        timestep_spacing="leading",
        steps_offset=1,
    )
    scheduler.set_timesteps(50)
    times = VPSchedule.scaled_linear().sampling_times(50, "diffusers")
    torch.testing.assert_close(
        times[:-1] * 1000 - 1, scheduler.timesteps.float(), rtol=0, atol=1e-3
    )


def test_sdxl_keeps_seven_percent_of_signal_at_its_last_level():
    alpha, _ = VPSchedule.scaled_linear().alpha_sigma(
        torch.tensor([1.0, 750 / 1000, 500 / 1000, 250 / 1000])
    )
    torch.testing.assert_close(
        alpha, torch.tensor([0.0683, 0.238, 0.527, 0.822]), rtol=0, atol=1e-3
    )


@pytest.mark.parametrize("schedule", [FlowSchedule(3.0), VPSchedule.scaled_linear()])
def test_perturb_has_the_moments_of_its_coefficients(schedule):
    x0, t = torch.full((4000, 4), 2.0), torch.full((4000,), 0.4)
    x_t = perturb(schedule, x0, torch.randn(4000, 4, generator=stream(0, "moments")), t)
    alpha, sigma = schedule.alpha_sigma(torch.tensor(0.4))
    assert abs(x_t.mean() - 2 * alpha) < 4 * sigma / 16000**0.5
    assert abs(x_t.std() / sigma - 1) < 0.02


def test_training_times_cover_the_shifted_levels_uniformly():
    times = FlowSchedule(3.0).draw_times(20000, stream(0, "times"))
    index = times / (3 - 2 * times)  # undo the shift
    assert 0 < times.min()
    assert times.max() <= 1
    assert abs(index.mean() - 0.5005) < 0.01
    assert abs(times.median() - 0.75) < 0.01


def test_wrong_grids_and_step_counts_are_refused():
    with pytest.raises(ValueError, match="even, diffusers"):
        FlowSchedule().sampling_times(4, "trailing")
    with pytest.raises(ValueError, match="at least 1"):
        VPSchedule.scaled_linear().sampling_times(0)
