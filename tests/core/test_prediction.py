import pytest
import torch

from workbench.core.prediction import EPS, VELOCITY, X0, Prediction
from workbench.core.schedules import FlowSchedule, VPSchedule, perturb
from workbench.core.seeds import stream

SCHEDULES = [FlowSchedule(3.0), VPSchedule.scaled_linear()]


def truth(schedule, t=0.6):
    g = stream(1, "truth")
    x0, eps = torch.randn(5, 2, 3, generator=g), torch.randn(5, 2, 3, generator=g)
    t = torch.full((5,), t)
    return x0, eps, t, perturb(schedule, x0, eps, t)


@pytest.mark.parametrize("schedule", SCHEDULES)
@pytest.mark.parametrize("kind", [VELOCITY, EPS, X0])
def test_every_kind_reads_back_the_truth(schedule, kind):
    x0, eps, t, x_t = truth(schedule)
    prediction = Prediction(kind.target(x0, eps), x_t, t, kind, schedule)
    close = dict(rtol=0, atol=2e-5)
    torch.testing.assert_close(prediction.x0, x0, **close)
    torch.testing.assert_close(prediction.eps, eps, **close)
    torch.testing.assert_close(prediction.velocity, eps - x0, **close)
    _, sigma = schedule.alpha_sigma(t)
    torch.testing.assert_close(prediction.score, -eps / sigma[:, None, None], **close)


@pytest.mark.parametrize("schedule", SCHEDULES)
@pytest.mark.parametrize("kind", [VELOCITY, EPS, X0])
def test_a_move_lands_on_the_same_x0_and_eps(schedule, kind):
    x0, eps, t, x_t = truth(schedule)
    s = torch.full((5,), 0.2)
    moved = Prediction(kind.target(x0, eps), x_t, t, kind, schedule).move(s)
    torch.testing.assert_close(moved, perturb(schedule, x0, eps, s), rtol=0, atol=2e-5)


def test_difference_of_predictions_keeps_what_subtracting_x0_in_bf16_would_lose():
    schedule = FlowSchedule(3.0)
    x0, eps, t, x_t = truth(schedule, t=0.009)
    small = 0.1 * torch.randn(x0.shape, generator=stream(2, "gap"))
    real = Prediction((eps - x0).bfloat16(), x_t, t, VELOCITY, schedule)
    fake = Prediction((eps - x0).bfloat16() + small, x_t, t, VELOCITY, schedule)
    exact = -0.009 * small
    naive = (x_t.bfloat16() - 0.009 * fake.raw.bfloat16()) - (
        x_t.bfloat16() - 0.009 * real.raw.bfloat16()
    )
    errors = [(gap.float() - exact).norm() / exact.norm() for gap in (fake.x0_minus(real), naive)]
    assert errors[0] < 0.01 < 0.3 < errors[1]


def test_different_kinds_can_be_compared():
    schedule = FlowSchedule(1.0)
    x0, eps, t, x_t = truth(schedule)
    as_velocity = Prediction(eps - x0, x_t, t, VELOCITY, schedule)
    as_data = Prediction(x0 + 1, x_t, t, X0, schedule)
    torch.testing.assert_close(
        as_data.x0_minus(as_velocity), torch.ones_like(x0), rtol=0, atol=1e-5
    )
