"""Gradients by step: they add up to the whole gradient, and the stop stops them exactly."""

import math

import pytest
import torch

from tests.support.distilling import distiller
from workbench.core.objectives import dmd, dp_dmd, dp_dmd_no_stop
from workbench.stages.gradients import gradient_reach, summands


def whole_gradient(d, objective):
    d.objective = objective
    losses = d._student_loss(d.draws("student", 0)[0])
    parameters = d.learners["student"].parameters
    return {
        name: torch.autograd.grad(weight * loss, parameters, retain_graph=True, allow_unused=True)
        for name, (weight, loss) in losses.items()
    }


@pytest.mark.parametrize(
    "settings", [{}, {"lora": 2}, {"checkpointing": True}, {"student_sampler": "renoise"}], ids=str
)
@pytest.mark.parametrize(
    "objective", [dmd(), dp_dmd(0.5, 2), dp_dmd_no_stop(0.5, 2)], ids=["dmd", "stop", "no stop"]
)
def test_the_summands_add_up_to_each_terms_gradient(backend, objective, settings):
    d = distiller(backend, objective, **settings)
    list(
        d.rounds(2)
    )  # away from the start, where adapters have no gradient in half of their weights
    steps = list(summands(d, objective, d.draws("student", 0)[0]))
    for name, whole in whole_gradient(d, objective).items():
        total = [sum(parts) for parts in zip(*[step[name] for step in steps if name in step])]
        for a, b in zip(total, whole, strict=True):
            torch.testing.assert_close(
                a, torch.zeros_like(a) if b is None else b, rtol=1e-3, atol=1e-6
            )


def test_dmd_reaches_step_1_only_without_the_stop(backend):
    d = distiller(backend)
    (*_, stopped), (*_, open_) = (
        gradient_reach(d, make(0.05, 2), 2) for make in (dp_dmd, dp_dmd_no_stop)
    )
    assert stopped.detach_after == 1
    assert stopped.norms["dmd"][:, 0].tolist() == [0, 0]
    assert (stopped.norms["dmd"][:, 1:] > 0).all()
    assert (open_.norms["dmd"] > 0).all()
    assert torch.equal(open_.norms["dmd"][:, 1:], stopped.norms["dmd"][:, 1:])
    for reach in (stopped, open_):
        assert (reach.norms["diversity"][:, 0] > 0).all()
        assert not reach.norms["diversity"][:, 1:].any()
    cosine = open_.cosines["dmd", "diversity"]
    assert (cosine[:, 0].abs() <= 1).all()
    assert cosine[:, 1:].isnan().all()
    assert stopped.cosines["dmd", "diversity"].isnan().all()


def test_norms_and_cosines_are_those_of_the_summands(backend):
    d, objective = distiller(backend), dp_dmd_no_stop(0.05, 2)
    first = next(summands(d, objective, d.draws("student", 0)[0]))
    (reach,) = gradient_reach(d, objective, 1)
    a, b = (torch.cat([g.flatten() for g in first[name]]).double() for name in ("dmd", "diversity"))
    assert float(reach.norms["dmd"][0, 0]) == pytest.approx(float(a.norm()), rel=1e-5)
    assert float(reach.cosines["dmd", "diversity"][0, 0]) == pytest.approx(
        float(a @ b / a.norm() / b.norm()), abs=1e-5
    )


def test_a_batch_is_a_micro_batch_of_the_recipe(backend):
    (one,), (two,) = (
        gradient_reach(distiller(backend, batch=4 * parts, accumulate=parts), dp_dmd(0.05, 2), 1)
        for parts in (1, 2)
    )
    for name in one.norms:
        torch.testing.assert_close(one.norms[name], two.norms[name], rtol=1e-4, atol=1e-7)


def test_checkpointing_in_bf16_on_a_cpu_and_a_student_of_one_step(backend):
    (found,) = gradient_reach(
        distiller(backend, checkpointing=True, precision="bf16"), dp_dmd(0.05, 2), 1
    )
    assert (found.norms["dmd"][:, 1:] > 0).all()
    (alone,) = gradient_reach(distiller(backend, student_steps=1), dp_dmd(0.05, 2), 1)
    assert alone.norms["dmd"].tolist() == [[0]]
    assert float(alone.norms["diversity"]) > 0


def test_measuring_changes_nothing(backend):
    d = distiller(backend)
    before = [p.detach().clone() for learner in d.learners.values() for p in learner.parameters]
    list(gradient_reach(d, dmd(), 2))
    after = [p for learner in d.learners.values() for p in learner.parameters]
    assert all(torch.equal(a, b) and b.grad is None for a, b in zip(before, after))
    assert d.student_updates == 0
    twice = [next(gradient_reach(distiller(backend), dmd(), 1)).norms["dmd"] for _ in range(2)]
    assert torch.equal(*twice)
    assert not math.isnan(float(twice[0].sum()))
