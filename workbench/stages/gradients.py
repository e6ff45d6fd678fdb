r"""Which gradient reaches which step: for a method's student update, the norm of each term's
gradient at each of the N steps.

One network serves all steps, so the gradient of a term with respect to its parameters is a sum
over the steps' evaluations:

    dL/dtheta = sum_k J_k^T c_k,     J_k = d raw_k / dtheta at step k's own input, held fixed,     c_k = dL/d raw_k

where c_k is the total derivative, through every later step that step k leads to. The graph of the
roll-out gives the c_k, and evaluating each step once more gives its summand: no copy of the
network, and one step's graph at a time. Behind the gradient stop of (8) there is no c_1 of DMD's
at all, so its summand is exactly 0. Without it (Figure 5) both terms pull at step 1, and the
cosine of their summands there says whether they agree.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Iterator
from dataclasses import dataclass

import torch
from torch import Tensor

from workbench.core.distiller import Distiller, attention
from workbench.core.draws import MicroBatch
from workbench.core.objectives import Objective
from workbench.core.sampler import Rollout, walk

StepGradients = dict[
    str, list[Tensor]
]  # of one step: a term that reaches it -> its gradient, for every parameter


@dataclass(frozen=True)
class GradientNorms:
    """Of several batches, for N steps: `norms` of each term's weighted gradient [batches, N], and
    the cosine [batches, N] of each two terms, nan where one of them is 0.
    """

    detach_after: int
    norms: dict[str, Tensor]
    cosines: dict[tuple[str, str], Tensor]


def gradient_reach(
    distiller: Distiller, objective: Objective, batches: int = 4
) -> Iterator[GradientNorms]:
    """Measures `objective` on the distiller's student, fake network and teacher, whose weights
    stay as they are. Yields what is known behind each batch: a micro-batch of the recipe, of the
    draws of student updates 0, 1, ..., the same for every objective.
    """
    norms = {term.name: [] for term in objective.terms}
    cosines = {pair: [] for pair in itertools.combinations(norms, 2)}
    for update in range(batches):
        steps = [
            _read(step)
            for step in summands(distiller, objective, distiller.draws("student", update)[0])
        ]
        for name, kept in norms.items():
            kept.append([found.get((name, name), 0.0) ** 0.5 for found in steps])
        for (one, other), kept in cosines.items():
            kept.append([_cosine(found, one, other) for found in steps])
        yield GradientNorms(
            objective.detach_after,
            {name: torch.tensor(rows) for name, rows in norms.items()},
            {pair: torch.tensor(rows) for pair, rows in cosines.items()},
        )


def summands(
    distiller: Distiller, objective: Objective, micro: MicroBatch
) -> Iterator[StepGradients]:
    """Each term's gradient, with its weight, step by step: the J_k^T c_k above, whose sum over k
    is the term's whole gradient. A term that does not reach a step is absent there.
    """
    student, parameters = distiller.student, distiller.learners["student"].parameters
    with attention(
        distiller.backend.device.type, distiller.recipe.precision
    ):  # also of the backward passes
        stages = list(
            walk(
                student,
                micro.x1,
                micro.condition,
                distiller.student_times,
                detach_after=objective.detach_after,
                renoise=micro.renoise,
            )
        )
        seen = distiller.student_pass(micro, Rollout(stages[0].prediction, stages[-1].x_s))
        raw = [stage.prediction.raw for stage in stages]
        toward = {
            term.name: _toward(term.weight * term.loss(seen), raw) for term in objective.terms
        }
        inputs = [(stage.prediction.x_t.detach(), stage.prediction.t) for stage in stages]
        del stages, seen, raw  # and with them the graph
        for step, (x, t) in enumerate(inputs):
            found, reached = {}, [name for name in toward if toward[name][step] is not None]
            again = student(x, t, micro.condition).raw if reached else None
            for name in reached:
                gradients = torch.autograd.grad(
                    again,
                    parameters,
                    toward[name][step],
                    retain_graph=name != reached[-1],
                    allow_unused=True,
                )
                found[name] = [
                    torch.zeros_like(p) if g is None else g for p, g in zip(parameters, gradients)
                ]
            yield found


def _toward(loss: Tensor, raw: list[Tensor]) -> tuple[Tensor | None, ...]:
    """c_k of every step; None where the loss does not depend on it."""
    return (
        torch.autograd.grad(loss, raw, retain_graph=True, allow_unused=True)
        if loss.requires_grad
        else (None,) * len(raw)
    )


def _read(step: StepGradients) -> dict[tuple[str, str], float]:
    """The products of each two terms' gradients, and of each with itself."""
    pairs = itertools.combinations_with_replacement(step, 2)
    return {
        (one, other): math.fsum(float((a * b).sum()) for a, b in zip(step[one], step[other]))
        for one, other in pairs
    }


def _cosine(found: dict[tuple[str, str], float], one: str, other: str) -> float:
    lengths = math.sqrt(found.get((one, one), 0.0) * found.get((other, other), 0.0))
    return found[one, other] / lengths if lengths else math.nan
