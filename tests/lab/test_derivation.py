"""The derivation's functions against closed forms: divergences of Gaussians, autograd, moment
matching, chords and cuts.
"""

import math

import pytest
import torch

from workbench.core.mixture import GaussianMixture
from workbench.core.objectives.diversity import secant_anchor
from workbench.core.sampler import sample, walk
from workbench.core.schedules import FlowSchedule
from workbench.core.seeds import stream
from workbench.lab import derivation as d
from workbench.lab import derivation_figures as figures
from workbench.lab import derivation_noise as dn

FLOW, LINE = FlowSchedule(1.0), d.QuadratureGrid.line(-12, 12, 2401)
STUDENT = d.BentStudent(torch.tensor([0.3, 0.7, 1.0, 1.5, -0.2], dtype=torch.float64))
Z = torch.linspace(-3, 3, 41, dtype=torch.float64)
MODES = torch.tensor([[-2.0], [2.0]], dtype=torch.float64)
TEACHER = GaussianMixture(
    torch.tensor([0.35, 0.65]).double(), MODES, torch.tensor([0.25, 0.25]).double(), FLOW
)


def closed_kl(mean, std, other, wide):
    return math.log(wide / std) + (std**2 + (mean - other) ** 2) / (2 * wide**2) - 0.5


def test_kl_of_two_gaussians_is_the_closed_form():
    log_p, log_q = d.log_normal(LINE.x, 0.5, 0.8), d.log_normal(LINE.x, -0.3, 1.4)
    assert float(d.kl(log_p, log_q, LINE)) == pytest.approx(
        closed_kl(0.5, 0.8, -0.3, 1.4), abs=1e-10
    )


def test_alpha_divergence_of_equal_widths_is_the_closed_form_and_goes_over_into_both_kls():
    log_p, log_q = d.log_normal(LINE.x, 0.0, 1.0), d.log_normal(LINE.x, 1.5, 1.0)
    for beta in (0.3, 0.5):  # int q^b p^(1-b) = exp(-b (1 - b) delta^2 / 2)
        expected = (1 - math.exp(-beta * (1 - beta) * 1.5**2 / 2)) / (beta * (1 - beta))
        assert float(d.alpha_divergence(log_p, log_q, LINE, beta)) == pytest.approx(
            expected, abs=1e-10
        )
    log_q = d.log_normal(LINE.x, 1.0, 1.3)
    for beta, near in ((0, 1e-5), (1, 1 - 1e-5)):
        assert float(d.alpha_divergence(log_p, log_q, LINE, beta)) == pytest.approx(
            float(d.alpha_divergence(log_p, log_q, LINE, near)), abs=1e-4
        )


def test_bent_student_is_inverted_and_its_density_has_mass_one():
    torch.testing.assert_close(STUDENT.inverse(STUDENT(Z)), Z, rtol=0, atol=1e-12)
    assert float(LINE.integral(STUDENT.log_density(LINE.x).exp())) == pytest.approx(1, abs=1e-10)


def test_jacobian_slope_and_score_are_those_of_autograd():
    jacobian = torch.autograd.functional.jacobian(
        lambda theta: d.BentStudent(theta)(Z), STUDENT.theta
    )
    torch.testing.assert_close(STUDENT.jacobian(Z), jacobian)
    torch.testing.assert_close(STUDENT.slope(Z), d.slope_of(STUDENT, Z))
    x, step = STUDENT(Z), 1e-5
    differences = (STUDENT.log_density(x + step) - STUDENT.log_density(x - step)) / (2 * step)
    torch.testing.assert_close(STUDENT.score_at(Z), differences, rtol=1e-6, atol=1e-6)


def test_a_student_without_a_bend_is_gaussian():
    straight = d.BentStudent(torch.tensor([0.5, 0.8, 0.0, 1.0, 0.0], dtype=torch.float64))
    torch.testing.assert_close(straight.log_density(LINE.x), d.log_normal(LINE.x, 0.5, 0.8))
    teacher, z = (
        dn.isotropic(torch.tensor([-0.3], dtype=torch.float64), 1.4, FLOW),
        d.QuadratureGrid.line(-9, 9, 2001),
    )
    assert float(d.kl_of_student(straight.theta, teacher, z)) == pytest.approx(
        closed_kl(0.5, 0.8, -0.3, 1.4), abs=1e-10
    )
    gradient = z.integral(
        d.log_normal(z.x, 0.0, 1.0).exp()[:, None] * d.score_form(straight, teacher, z.x)
    )
    expected = torch.tensor(
        [0.8 / 1.4**2, 0.8 / 1.4**2 - 1 / 0.8], dtype=torch.float64
    )  # of the closed form, in mean and std
    torch.testing.assert_close(gradient[:2], expected)


def test_forward_kl_matches_moments_and_reverse_kl_stays_on_a_mode():
    log_q = d.log_density(TEACHER, LINE.x)
    mean, std, _ = d.gaussian_branch(log_q, LINE, [1.0], 0.0, 1.0)[0]
    assert (mean, std) == pytest.approx((0.6, math.sqrt(0.25 + 4 - 0.36)), abs=1e-5)
    for place, weight in ((-2.0, 0.35), (2.0, 0.65)):
        mean, _, value = d.gaussian_branch(log_q, LINE, [0.0], place, 0.5)[0]
        assert mean == pytest.approx(place, abs=1e-2)
        assert value == pytest.approx(-math.log(weight), abs=1e-3)


def test_pull_is_the_derivative_of_the_diffused_kl():
    theta = torch.tensor([-1.2, 0.4], dtype=torch.float64)
    exact = d.finite_differences(lambda at: dn.diffused_kl(at, TEACHER, 0.4, LINE), theta)
    assert dn.pull(-1.2, 0.4, TEACHER, 0.4, LINE) == pytest.approx(float(exact[0]), abs=1e-6)
    at = torch.tensor([-1.2, math.log(0.4)], dtype=torch.float64)
    assert float(dn.weighted_kl(at, TEACHER, lambda t: 3.0, 1, LINE)) == pytest.approx(
        3 * float(dn.diffused_kl(theta, TEACHER, 0.5, LINE))
    )


def test_surrogate_gradients_agree_with_the_closed_form_of_a_gaussian_teacher():
    """At t = 0.5 both are Gaussian with variance (v + 1) / 4: dKL/dm = (m - m') / (v' + 1), dKL/ds
    = D s (1 / (v' + 1) - 1 / (v + 1)).
    """
    teacher = dn.isotropic(torch.tensor([1.0, -0.5]), 1.2, FLOW)
    found = dn.surrogate_gradients(
        torch.tensor([0.2, 0.1, 0.7]).double(), teacher, 0.5, 20, 4_000, stream(0, "surrogate")
    )
    expected = torch.tensor([-0.8 / 2.44, 0.6 / 2.44, 2 * 0.7 * (1 / 2.44 - 1 / 1.49)])
    assert ((found.mean(0) - expected).abs() < 5 * found.std(0) / 20**0.5 + 1e-5).all()


def test_mean_velocity_is_the_chord_and_the_first_target_is_the_mean():
    ring = GaussianMixture(
        torch.tensor([0.35, 0.65]),
        torch.tensor([[-2.0, 0.0], [2.0, 1.0]]),
        torch.tensor([0.1, 0.3]),
        FLOW,
    )
    x1, times = torch.randn(50, 2, generator=stream(0, "x1")), FLOW.sampling_times(8)
    stages = list(sample(ring, x1, None, times))
    for k in (1, 3, 8):
        chord = secant_anchor(x1, stages[k - 1].x_s, times[k].expand(50))
        torch.testing.assert_close(dn.mean_velocity(stages[:k]), chord, rtol=0, atol=1e-5)
    targets = [x1 - dn.mean_velocity(stages[:k]) for k in (1, 8)]
    curves = dn.anchor_curves(targets, stages[-1].x_s, ring.means)
    assert curves["spread over seeds"] == pytest.approx([0, 1], abs=1e-4)
    assert curves["error"][1] < 1e-4
    assert curves["nearest to the right mode"][1] == 1


def test_step_gradients_are_exactly_zero_before_the_stop():
    student = GaussianMixture(
        torch.ones(2), torch.tensor([[-1.0], [1.0]]).requires_grad_(), torch.full((2,), 0.1), FLOW
    )
    for stop in (0, 1, 2):
        stages = list(
            walk(
                student,
                torch.randn(8, 1, generator=stream(0, "x")),
                None,
                FLOW.sampling_times(4),
                detach_after=stop,
            )
        )
        norms = dn.step_gradients(stages, stages[-1].x_s.square().sum())
        assert norms[:stop] == [0.0] * stop
        assert min(norms[stop:]) > 0


def test_normalisers_scale_every_sample_and_turn_the_batch():
    teacher = GaussianMixture(
        torch.tensor([0.35, 0.65]),
        torch.tensor([[-1.0, 0.5], [1.0, 0.0]]),
        torch.tensor([0.1, 0.4]),
        FLOW,
    )
    t = FLOW.draw_times(20_000, stream(0, "t"))
    seen = dn.Reweighted.of(teacher, torch.tensor([0.1, -0.2]), 0.8, t, stream(0, "draws"))
    for name, weight in seen.weights.items():
        torch.testing.assert_close(
            seen.gradients[name], seen.gradients["none"] * weight[:, None], rtol=1e-4, atol=1e-5
        )
    assert seen.turned("none") < 0.1
    assert seen.turned("released") > 2 * seen.chance()


def test_affine_gradient_is_that_of_backward():
    z, g = (
        torch.randn(30, 3, generator=stream(0, "z")),
        torch.randn(30, 3, generator=stream(0, "g")),
    )
    b, a = torch.zeros(3, requires_grad=True), torch.eye(3, requires_grad=True)
    (((z @ a.T + b) * g).sum(1).mean()).backward()
    torch.testing.assert_close(dn.affine_gradient(g, z), torch.cat([b.grad, a.grad.flatten()]))


def test_figures_are_small():
    log_p, log_q = STUDENT.log_density(LINE.x), d.log_density(TEACHER, LINE.x)
    curves = torch.stack([log_p.exp()] * 5, 1)
    shown = [
        figures.kl_figure(LINE.x, log_p, log_q),
        figures.continuity_figure(LINE.x, curves, curves, d.PARAMETERS),
        figures.endings_figure(LINE.x, log_q, {"a": log_p, "b": log_p}),
    ]
    assert max(len(figure.to_json()) for figure in shown) < 40_000
