r"""Which gradient reaches which step: for a method's student update, the norm of each term's
gradient at each of the N steps.

One network serves all steps, so the gradient of a term with respect to its parameters is a sum
over the steps' evaluations:

    dL/dtheta = sum_k J_k^T c_k
    J_k = d raw_k / dtheta at step k's own input, held fixed
    c_k = dL/d raw_k, the total derivative, through every later step that step k leads to

The graph of the roll-out gives the c_k, and evaluating each step once more gives its summand: no
copy of the network, and one step's graph at a time. With the gradient stop of (8) DMD has no c_1,
so its summand is exactly 0. Without it (Figure 5) both terms pull at step 1, and the cosine of
their summands there says whether they agree.
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

# of one step: a term that reaches it -> its gradient, for every parameter
StepGradients = dict[str, list[Tensor]]


@dataclass(frozen=True)
class GradientNorms:
    """For several batches and N steps: `norms` of each term's weighted gradient [batches, N], and
    the cosine [batches, N] of each pair of terms, nan where one of them is 0.
    """

    detach_after: int
    norms: dict[str, Tensor]
    cosines: dict[tuple[str, str], Tensor]


def gradient_reach(
    distiller: Distiller, objective: Objective, batches: int = 4
) -> Iterator[GradientNorms]:
    """Measures `objective` on the distiller's student, fake network and teacher, whose weights
    stay as they are. Yields the result so far after each batch: a micro-batch of the recipe, from
    the draws of student updates 0, 1, ..., the same for every objective.
    """
    norms = {term.name: [] for term in objective.terms}
    cosines = {pair: [] for pair in itertools.combinations(norms, 2)}
    for update in range(batches):
        steps = [
            _products(step)
            for step in summands(distiller, objective, distiller.draws("student", update)[0])
        ]
        for name, rows in norms.items():
            rows.append([products.get((name, name), 0.0) ** 0.5 for products in steps])
        for (one, other), rows in cosines.items():
            rows.append([_cosine(products, one, other) for products in steps])
        yield GradientNorms(
            objective.detach_after,
            {name: torch.tensor(rows) for name, rows in norms.items()},
            {pair: torch.tensor(rows) for pair, rows in cosines.items()},
        )


def summands(
    distiller: Distiller, objective: Objective, micro: MicroBatch
) -> Iterator[StepGradients]:
    """Each term's weighted gradient, step by step: the J_k^T c_k above, whose sum over k is the
    term's whole gradient. A term that does not reach a step is absent from it.
    """
    student, parameters = distiller.student, distiller.learners["student"].parameters
    # the context covers the backward passes too
    with attention(distiller.backend.device.type, distiller.recipe.precision):
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
        outputs = distiller.student_pass(micro, Rollout(stages[0].prediction, stages[-1].x_s))
        raw = [stage.prediction.raw for stage in stages]
        toward = {
            term.name: _toward(term.weight * term.loss(outputs), raw) for term in objective.terms
        }
        inputs = [(stage.prediction.x_t.detach(), stage.prediction.t) for stage in stages]
        del stages, outputs, raw  # and with them the graph
        for step, (x, t) in enumerate(inputs):
            gradients, reached = {}, [name for name in toward if toward[name][step] is not None]
            again = student(x, t, micro.condition).raw if reached else None
            for name in reached:
                own = torch.autograd.grad(
                    again,
                    parameters,
                    toward[name][step],
                    retain_graph=name != reached[-1],
                    allow_unused=True,
                )
                gradients[name] = [
                    torch.zeros_like(p) if g is None else g for p, g in zip(parameters, own)
                ]
            yield gradients


def _toward(loss: Tensor, raw: list[Tensor]) -> tuple[Tensor | None, ...]:
    """c_k of every step; None where the loss does not depend on it."""
    return (
        torch.autograd.grad(loss, raw, retain_graph=True, allow_unused=True)
        if loss.requires_grad
        else (None,) * len(raw)
    )


def _products(step: StepGradients) -> dict[tuple[str, str], float]:
    """The inner product of each pair of terms' gradients, and of each with itself."""
    pairs = itertools.combinations_with_replacement(step, 2)
    return {
        (one, other): math.fsum(float((a * b).sum()) for a, b in zip(step[one], step[other]))
        for one, other in pairs
    }


def _cosine(products: dict[tuple[str, str], float], one: str, other: str) -> float:
    lengths = math.sqrt(products.get((one, one), 0.0) * products.get((other, other), 0.0))
    return products[one, other] / lengths if lengths else math.nan
