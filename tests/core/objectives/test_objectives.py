"""The pure functions against hand calculations."""

import pytest
import torch

from workbench.core.mixture import GaussianMixture
from workbench.core.objectives.diversity import (
    denoised_target,
    diversity_loss,
    secant_anchor,
    secant_target,
)
from workbench.core.objectives.dmd import NORMALISERS, dmd_gradient, surrogate
from workbench.core.objectives.score_matching import denoising_loss
from workbench.core.prediction import EPS, VELOCITY, Prediction
from workbench.core.sampler import sampled
from workbench.core.schedules import FlowSchedule, VPSchedule
from workbench.core.seeds import stream

MIXTURE = GaussianMixture(
    torch.tensor([0.5, 0.5]), torch.tensor([[-2.0, 0.0], [2.0, 1.0]]), torch.tensor([0.1, 0.3])
)


def test_surrogate_has_the_given_gradient_over_numel_and_measures_it():
    x = torch.randn(3, 4, generator=stream(0, "x")).requires_grad_()
    gradient = torch.randn(3, 4, generator=stream(0, "g"))
    loss = surrogate(x, gradient)
    loss.backward()
    torch.testing.assert_close(x.grad, gradient / 12)
    torch.testing.assert_close(loss, 0.5 * gradient.square().mean())


def test_released_normaliser_cancels_sigma_for_a_flow():
    g = stream(1, "v")
    x_t, real, fake = (torch.randn(6, 5, generator=g) for _ in range(3))
    t = torch.rand(6, generator=g) * 0.98 + 0.02
    predictions = [Prediction(v, x_t, t, VELOCITY, FlowSchedule(1.0)) for v in (real, fake)]
    expected = (real - fake) / real.abs().mean(1, keepdim=True)
    torch.testing.assert_close(
        dmd_gradient(x_t, *predictions, "released"), expected, rtol=1e-4, atol=1e-5
    )


def test_dmd2_normaliser_measures_from_the_students_sample():
    x = torch.zeros(2, 3)
    real = Prediction(
        torch.zeros(2, 3),
        torch.tensor([[1.0, 1, 1], [2, 2, 2]]),
        torch.full((2,), 0.5),
        VELOCITY,
        FlowSchedule(1.0),
    )
    assert NORMALISERS["dmd2"](x, real).tolist() == [1.0, 2.0]
    assert NORMALISERS["released"](x, real).tolist() == [0.0, 0.0]
    assert NORMALISERS["none"](x, real).tolist() == [1.0, 1.0]


def test_nan_is_kept_for_the_distiller_to_see():
    nan = Prediction(
        torch.full((1, 2), float("nan")),
        torch.zeros(1, 2),
        torch.ones(1),
        VELOCITY,
        FlowSchedule(1.0),
    )
    assert dmd_gradient(torch.zeros(1, 2), nan, nan).isnan().all()


def test_secant_is_the_chord_and_equals_7_and_41_at_t_one():
    x1, z, t = torch.randn(4, 3), torch.randn(4, 3), torch.full((4,), 0.6)
    v_target = secant_anchor(x1, z, t)
    torch.testing.assert_close(x1 + (0.6 - 1) * v_target, z, rtol=1e-4, atol=1e-5)
    first = Prediction(torch.randn(4, 3), x1, torch.ones(4), VELOCITY, FlowSchedule(1.0))
    torch.testing.assert_close(
        diversity_loss(first, x1 - v_target), (first.raw - v_target).square().mean()
    )


def test_anchors_of_the_whole_path_are_the_teachers_sample():
    noise = torch.randn(5, 2, generator=stream(0, "n"))
    times = MIXTURE.schedule.sampling_times(8)
    end = sampled(MIXTURE, noise, None, times)
    for rule in (secant_target, denoised_target):
        torch.testing.assert_close(rule(MIXTURE, noise, None, times, 8), end, rtol=0, atol=1e-5)


def test_denoised_anchor_is_the_teachers_x0_at_its_own_state():
    noise, times = torch.randn(5, 2, generator=stream(0, "n")), MIXTURE.schedule.sampling_times(8)
    z = sampled(MIXTURE, noise, None, times[:4])
    expected = MIXTURE(z, times[3].expand(5)).x0
    torch.testing.assert_close(denoised_target(MIXTURE, noise, None, times, 3), expected)


@pytest.mark.parametrize("k", [0, 9])
def test_anchor_steps_outside_the_teachers_are_refused(k):
    with pytest.raises(ValueError, match="between 1 and the teacher's 8 steps"):
        secant_target(MIXTURE, torch.zeros(1, 2), None, MIXTURE.schedule.sampling_times(8), k)


@pytest.mark.parametrize(
    ("schedule", "kind"), [(FlowSchedule(1.0), VELOCITY), (VPSchedule.scaled_linear(), EPS)]
)
def test_denoising_loss_is_zero_for_the_raw_truth_and_trains_the_denoiser_only(schedule, kind):
    x0, noise = torch.randn(4, 3).requires_grad_(), torch.randn(4, 3)
    offset = torch.zeros(1, requires_grad=True)

    class Oracle:
        def __init__(self):
            self.schedule = schedule

        def __call__(self, x_t, t, condition):
            return Prediction(kind.target(x0.detach(), noise) + offset, x_t, t, kind, schedule)

    loss = denoising_loss(Oracle(), x0, noise, t=torch.full((4,), 0.5), condition=None)
    assert loss == 0
    (
        denoising_loss(Oracle(), x0, noise, t=torch.full((4,), 0.5), condition=None) + offset.sum()
    ).backward()
    assert x0.grad is None
    assert offset.grad == 1
