r"""Which gradient reaches which step: for a method's student update, the norm of each term's gradient at each of the N steps.

One network serves all steps, so the gradient of a term with respect to its parameters is a sum over the steps' evaluations:

    dL/dtheta = sum_k J_k^T c_k,     J_k = d raw_k / dtheta at step k's own input, held fixed,     c_k = dL/d raw_k

where c_k is the total derivative, through every later step that step k leads to. The graph of the roll-out gives the c_k, and
evaluating each step once more gives its summand: no copy of the network, and one step's graph at a time. Behind the gradient stop of
(8) there is no c_1 of DMD's at all, so its summand is exactly 0. Without it (Figure 5) both terms pull at step 1, and the cosine of
their summands there says whether they agree.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Iterator
from dataclasses import dataclass

import torch
from torch import Tensor

from workbench.distiller import Distiller, Micro
from workbench.objectives import Objective
from workbench.sampler import Rollout, walk

Summands = dict[str, list[list[Tensor] | None]]  # term -> for each step the gradient of every parameter, or None


@dataclass(frozen=True)
class GradientReach:
    """Of several batches, for N steps: `norms` of each term's weighted gradient [batches, N], and the cosine [batches, N] of each two
    terms, nan where one of them is 0."""

    detach_after: int
    norms: dict[str, Tensor]
    cosines: dict[tuple[str, str], Tensor]


def gradient_reach(distiller: Distiller, objective: Objective, batches: int = 4) -> Iterator[GradientReach]:
    """Measures `objective` on the distiller's student, fake network and teacher, whose weights stay as they are. Yields what is known
    behind each batch of the recipe's size; the draws are those of student updates 0, 1, ..., the same for every objective."""
    norms = {term.name: [] for term in objective.terms}
    cosines = {pair: [] for pair in itertools.combinations(norms, 2)}
    for update in range(batches):
        sums = None
        micros = distiller.draws("student", update)
        for micro in micros:
            sums = _added(sums, summands(distiller, objective, micro), len(micros))
        for name, steps in sums.items():
            norms[name].append([_norm(step) for step in steps])
        for (one, other), kept in cosines.items():
            kept.append([_cosine(a, b) for a, b in zip(sums[one], sums[other])])
        yield GradientReach(objective.detach_after, {name: torch.tensor(rows) for name, rows in norms.items()},
                            {pair: torch.tensor(rows) for pair, rows in cosines.items()})


def summands(distiller: Distiller, objective: Objective, micro: Micro) -> Summands:
    """Each term's gradient, with its weight, by step: the J_k^T c_k above, whose sum over k is the term's whole gradient."""
    student, parameters = distiller.student, distiller.learners["student"].parameters
    stages = list(walk(student, micro.x1, micro.condition, distiller.student_times, objective.detach_after, micro.renoise))
    seen = distiller.student_pass(micro, Rollout(stages[0].prediction, stages[-1].x_s))
    raw = [stage.prediction.raw for stage in stages]
    toward = {term.name: torch.autograd.grad(term.weight * term.loss(seen), raw, retain_graph=True, allow_unused=True)
              for term in objective.terms}
    inputs = [(stage.prediction.x_t.detach(), stage.prediction.t) for stage in stages]
    del stages, seen, raw  # and with them the graph
    result: Summands = {name: [] for name in toward}
    for step, (x, t) in enumerate(inputs):
        reached = [name for name in toward if toward[name][step] is not None]
        again = student(x, t, micro.condition).raw if reached else None
        for name in toward:
            found = torch.autograd.grad(again, parameters, toward[name][step], retain_graph=name != reached[-1],
                                        allow_unused=True) if name in reached else None
            result[name].append(found and [torch.zeros_like(p) if g is None else g for p, g in zip(parameters, found)])
    return result


def _added(sums: Summands | None, more: Summands, parts: int) -> Summands:
    """The mean over micro-batches, one more at a time."""
    more = {name: [step and [gradient / parts for gradient in step] for step in steps] for name, steps in more.items()}
    if sums is None:
        return more
    return {name: [a and [x + y for x, y in zip(a, b)] for a, b in zip(steps, more[name])] for name, steps in sums.items()}


def _norm(step: list[Tensor] | None) -> float:
    return math.sqrt(sum(float(gradient.square().sum()) for gradient in step)) if step else 0.0


def _cosine(one: list[Tensor] | None, other: list[Tensor] | None) -> float:
    lengths = _norm(one) * _norm(other)
    return sum(float((a * b).sum()) for a, b in zip(one, other)) / lengths if lengths else math.nan
