"""The Gaussian mixture against autograd, and the DMD gradient against finite differences of the
exact KL divergence.
"""

import pytest
import torch

from workbench.core.mixture import GaussianMixture
from workbench.core.objectives.dmd import dmd_gradient
from workbench.core.schedules import FlowSchedule, VPSchedule, perturb
from workbench.core.seeds import stream

SCHEDULES = [FlowSchedule(1.0), VPSchedule.scaled_linear()]


def teacher(schedule):
    return GaussianMixture(
        torch.tensor([0.3, 0.7]),
        torch.tensor([[-1.5, 0.5], [1.0, -0.5]]),
        torch.tensor([0.2, 0.4]),
        schedule,
    )


@pytest.mark.parametrize("schedule", SCHEDULES)
def test_score_is_the_gradient_of_the_log_density(schedule):
    mixture = teacher(schedule)
    x = torch.randn(64, 2, generator=stream(0, "x")).requires_grad_()
    t = torch.rand(64, generator=stream(0, "t")) * 0.9 + 0.05
    (gradient,) = torch.autograd.grad(mixture.log_density(x, t).sum(), x)
    torch.testing.assert_close(mixture(x.detach(), t).score, gradient, rtol=1e-3, atol=1e-3)


@pytest.mark.parametrize("schedule", SCHEDULES)
@pytest.mark.parametrize("t", [0.3, 0.7])
def test_dmd_gradient_is_the_gradient_of_the_kl_divergence(schedule, t):
    """A Gaussian student x = m + s z. Its exact KL at noise level t, by quadrature and central
    differences in (m, s), against the sample mean of (5): the x0-space g times alpha^2 / sigma^2,
    chained through dG/dtheta = (1, z).
    """
    mean, scale = torch.tensor([0.4, -0.2], dtype=torch.float64), 0.6
    exact = [
        (kl(schedule, mean + d, scale, t) - kl(schedule, mean - d, scale, t)) / 2e-3
        for d in 1e-3 * torch.eye(2, dtype=torch.float64)
    ]
    exact.append((kl(schedule, mean, scale + 1e-3, t) - kl(schedule, mean, scale - 1e-3, t)) / 2e-3)

    count, g = 400_000, stream(0, "dmd")
    z, noise = (torch.randn(count // 2, 2, generator=g) for _ in range(2))
    z, noise = (
        torch.cat([z, -z]),
        torch.cat([noise, -noise]),
    )  # antithetic pairs: less spread, same mean
    x, times = mean.float() + scale * z, torch.full((count,), t)
    x_t = perturb(schedule, x, noise, times)
    student = GaussianMixture(torch.ones(1), mean.float()[None], torch.tensor([scale**2]), schedule)
    gap = dmd_gradient(x, teacher(schedule)(x_t, times), student(x_t, times), "none")
    alpha, sigma = schedule.alpha_sigma(torch.tensor(t))
    gradient = gap * alpha**2 / sigma**2
    estimate = torch.cat([gradient.mean(0), (gradient * z).sum(1).mean()[None]])
    error = (estimate - torch.tensor(exact)).abs().max().item()
    print(
        f"{type(schedule).__name__} t={t}: KL gradient {[round(float(e), 4) for e in exact]}, "
        f"largest error {error:.1e}"
    )
    assert error < 6e-3


def kl(schedule, mean, scale, t):
    """KL(student_t || teacher_t) on a 2-D grid in fp64."""
    axis = torch.linspace(-8, 8, 801, dtype=torch.float64)
    x = torch.cartesian_prod(axis, axis)
    times = torch.full((len(x),), t, dtype=torch.float64)
    student = GaussianMixture(
        torch.ones(1, dtype=torch.float64),
        mean[None],
        torch.tensor([scale**2], dtype=torch.float64),
        schedule,
    )
    wide = GaussianMixture(
        *(
            v.double()
            for v in (
                teacher(schedule).weights,
                teacher(schedule).means,
                teacher(schedule).variances,
            )
        ),
        schedule,
    )
    log_p, log_q = student.log_density(x, times), wide.log_density(x, times)
    return float((log_p.exp() * (log_p - log_q)).sum() * (axis[1] - axis[0]) ** 2)


def test_samples_have_the_mixtures_mean_and_wrong_shapes_are_refused():
    mixture = teacher(FlowSchedule(1.0))
    points = mixture.sample(50_000, stream(0, "points"))
    torch.testing.assert_close(
        points.mean(0), (mixture.weights[:, None] * mixture.means).sum(0), rtol=0, atol=0.03
    )
    with pytest.raises(ValueError, match="weights \\[K\\]"):
        GaussianMixture(torch.ones(3), torch.zeros(2, 2), torch.ones(2))
