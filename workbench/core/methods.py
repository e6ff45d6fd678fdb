"""The methods, one `Method` each: its name for people, its objective, and its cost beyond DMD's.

A method of your own is one file that ends in

    METHODS.register("mine", Method("Mine", image_free=True, build=build))
    # with a function build(recipe, tools) -> Objective

and is named in WORKBENCH_PLUGINS (see `workbench.core.registry`). No torch here: recipes and the
command line read this table; `build` imports what it needs.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING

from workbench.core.registry import Registry

if TYPE_CHECKING:
    from workbench.core.objectives import Objective
    from workbench.core.objectives.perceptual import Distance
    from workbench.core.recipe import Recipe


@dataclass(frozen=True)
class Tools:
    """An objective's needs that the core cannot build: the device's name, and a function that makes
    the recipe's perceptual distance.
    """

    device: str
    new_distance: Callable[[], Distance]


@dataclass(frozen=True)
class Extra:
    """Network evaluations per sample of one update, beyond those of plain DMD."""

    teacher: int = 0  # guided steps of the teacher, each two evaluations unless guidance is 1
    fake: int = 0  # passes of the fake network, with gradients


def _none(recipe: Recipe) -> Extra:
    return Extra()


@dataclass(frozen=True)
class Method:
    """A training objective by its name for people.

    `image_free` is Table 1's column: no loss sees decoded or real images. `build` makes the
    objective of a recipe; `student_extra` and `fake_extra` are the evaluations of an update of that
    network beyond DMD's.
    """

    title: str
    image_free: bool
    build: Callable[[Recipe, Tools], Objective]
    student_extra: Callable[[Recipe], Extra] = _none
    fake_extra: Callable[[Recipe], Extra] = _none


def _dmd(recipe: Recipe, tools: Tools) -> Objective:
    from workbench.core.objectives import dmd

    return dmd(recipe.normaliser)


def _dmd_lpips(recipe: Recipe, tools: Tools) -> Objective:
    from workbench.core.objectives import dmd_lpips

    return dmd_lpips(tools.new_distance(), recipe.lpips, recipe.normaliser)


def _dmd_gan(recipe: Recipe, tools: Tools) -> Objective:
    from workbench.core.objectives import dmd_gan

    return dmd_gan(recipe.gan, recipe.critic, recipe.normaliser)


def _dp_dmd(recipe: Recipe, tools: Tools) -> Objective:
    from workbench.core.objectives import dp_dmd

    return dp_dmd(recipe.lam, recipe.k, recipe.anchor, recipe.normaliser)


def _dp_dmd_no_stop(recipe: Recipe, tools: Tools) -> Objective:
    from workbench.core.objectives import dp_dmd_no_stop

    return dp_dmd_no_stop(recipe.lam, recipe.k, recipe.anchor, recipe.normaliser)


def _anchor(recipe: Recipe) -> Extra:
    """K steps to the anchor, and one more evaluation there for (39)."""
    return Extra(recipe.k + (recipe.anchor == "denoised" and recipe.k < recipe.teacher_steps))


def _teacher_sample(recipe: Recipe) -> Extra:
    return Extra(recipe.teacher_steps)


METHODS = Registry(
    "method",
    {
        "dmd": Method("DMD", True, _dmd),
        "dmd_lpips": Method("DMD-LPIPS", False, _dmd_lpips, _teacher_sample),
        "dmd_gan": Method(
            "DMD-GAN",
            False,
            _dmd_gan,
            lambda recipe: Extra(fake=1),
            lambda recipe: Extra(recipe.teacher_steps, fake=2),
        ),
        "dp_dmd": Method("DP-DMD", True, _dp_dmd, _anchor),
        "dp_dmd_no_stop": Method("DP-DMD, no stop", True, _dp_dmd_no_stop, _anchor),
    },
    spelling=lambda name: name.replace("-", "_"),
)


def method_title(name: str) -> str:
    """A method's name for people; a name that no method has stays as it is."""
    return METHODS[name].title if name in METHODS else name
