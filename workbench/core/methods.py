"""The methods, one `Method` each: its name for people, its objective, and its cost beyond DMD's.

A method of your own is one file that ends in

    METHODS.register("mine", Method("Mine", image_free=True, build=build))
    # with a function build(recipe, tools) -> Objective

and is named in WORKBENCH_PLUGINS (see `workbench.core.registry`). No torch here: recipes and the
command line read this table; `build` imports what it needs.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
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
    network beyond DMD's. `settings` are the recipe's settings that it reads and plain DMD does not;
    None: it may read any. `vanishes` says why a term of the loss is nothing with a recipe's
    settings, in words with the way out; "" when each counts.
    """

    title: str
    image_free: bool
    build: Callable[[Recipe, Tools], Objective]
    student_extra: Callable[[Recipe], Extra] = _none
    fake_extra: Callable[[Recipe], Extra] = _none
    settings: tuple[str, ...] | None = None
    vanishes: Callable[[Recipe], str] = lambda recipe: ""


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


def no_step_left(stop: int) -> str:
    """Why a student of `stop` steps learns nothing by DMD under a stop behind step `stop`."""
    return (
        f"DMD's gradient stops behind step {stop}, and the student has no later one: Eq. (8), "
        "L = L_DMD(steps behind the stop) + lam L_Div, loses its first term. Set student_steps to "
        f"{stop + 1} or more, or take a method without a stop, dmd or dp_dmd_no_stop"
    )


def _stopped(recipe: Recipe) -> str:
    """DP-DMD's; its lam = 0 is legitimate, and is DMD on the steps from the second on."""
    return no_step_left(1) if recipe.student_steps < 2 else ""


def _without_lpips(recipe: Recipe) -> str:
    return "" if recipe.lpips else "lpips = 0 leaves dmd_lpips plain DMD: take the method dmd"


def _without_gan(recipe: Recipe) -> str:
    if not recipe.gan:
        return "gan = 0 leaves dmd_gan plain DMD: take the method dmd"
    if not recipe.critic or not recipe.fake_updates_per_round or not recipe.fake_rate:
        return (
            "the head of dmd_gan is never trained, so its term pushes the student in a random "
            "direction: set critic, fake_updates_per_round and fake_rate above 0"
        )
    return ""


_DIVERSITY = ("lam", "k", "anchor")
METHODS = Registry(
    "method",
    {
        "dmd": Method("DMD", True, _dmd, settings=()),
        "dmd_lpips": Method(
            "DMD-LPIPS",
            False,
            _dmd_lpips,
            _teacher_sample,
            settings=("lpips", "distance"),
            vanishes=_without_lpips,
        ),
        "dmd_gan": Method(
            "DMD-GAN",
            False,
            _dmd_gan,
            lambda recipe: Extra(fake=1),
            lambda recipe: Extra(recipe.teacher_steps, fake=2),
            settings=("gan", "critic"),
            vanishes=_without_gan,
        ),
        "dp_dmd": Method("DP-DMD", True, _dp_dmd, _anchor, settings=_DIVERSITY, vanishes=_stopped),
        "dp_dmd_no_stop": Method(
            "DP-DMD, no stop", True, _dp_dmd_no_stop, _anchor, settings=_DIVERSITY
        ),
    },
    spelling=lambda name: name.replace("-", "_"),
)


def check_trains(recipe: Recipe) -> None:
    """Raises ValueError, with the equation and the way out, for settings by which a term of the
    loss vanishes. A recipe itself may have them, so that runs of before this check can be read.
    """
    reason = METHODS[recipe.method].vanishes(recipe)
    if not recipe.student_rate:
        reason = "student_rate = 0 leaves the student as it is: set it above 0"
    elif recipe.guidance == 1 and not (recipe.fake_updates_per_round and recipe.fake_rate):
        reason = (
            "the fake network stays the teacher, whose guidance of 1 is off, so DMD's gradient "
            "(5), x0_fake - x0_real, is exactly 0: set fake_updates_per_round and fake_rate above 0"
        )
    if reason:
        raise ValueError(reason)


def unread_settings(recipe: Recipe, names: Iterable[str]) -> list[str]:
    """Those of `names` that another method reads, and the recipe's does not."""
    own = METHODS[recipe.method].settings
    others = {name for other in METHODS.loaded for name in METHODS[other].settings or ()}
    return [name for name in names if own is not None and name in others and name not in own]


def method_title(name: str) -> str:
    """A method's name for people; a name that no method has stays as it is."""
    return METHODS[name].title if name in METHODS else name
