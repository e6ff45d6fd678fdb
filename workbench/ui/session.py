"""The state that all tabs share: the device, the loaded teacher and the runs folder.

Everything that needs torch is imported when the teacher is loaded, so that the page is served
first.
"""

from __future__ import annotations

import threading
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

from workbench.core.presets import recipe_of
from workbench.grid.request import GridRequest
from workbench.io.notation import TEACHER, model_title
from workbench.models.embedded import EMBEDDED
from workbench.scenes.grammar import EXAMPLES

if TYPE_CHECKING:
    from workbench.core.denoiser import Backend
    from workbench.grid.generate import ModelLoader
    from workbench.models.model_cache import ModelCache

# One queue for everything that computes: without a common id, listeners would run at the same time
# and compete for the device.
ON_DEVICE = {"concurrency_id": "device", "concurrency_limit": 1}
GENERAL_EXAMPLES = (
    "a red fox in the snow, photograph",
    "an old sailor, oil painting",
    "a small house by a lake at dusk",
    "a bowl of fruit on a wooden table",
    "a city street in the rain, watercolour",
)
LARGE = 500_000_000  # parameters of a teacher that is too slow without a GPU


@dataclass
class Session:
    """Where the app works. `load` opens the teacher once; if that fails, it opens the embedded
    one, and `problem` says why.
    """

    teacher: str = "scenes"
    runs: Path = Path("runs")
    device: str = ""  # empty: the first available, known after `load`
    student: str = ""  # selected at first; its name or how that begins
    resolution: int = 0
    problem: str = ""
    settled: bool = False  # whether `load` has ended
    _lock: threading.Lock = field(default_factory=threading.Lock, repr=False)
    _backend: Backend | None = field(default=None, repr=False)
    _cache: ModelCache | None = field(default=None, repr=False)

    def __post_init__(self):
        self._device_chosen = bool(self.device)

    def load(self) -> Backend:
        """The teacher's backend, loaded at the first call and kept. Raises ValueError, with the
        way out, if not even the embedded one can be loaded.
        """
        with self._lock:
            try:
                if self._backend is None:
                    from workbench.models.loading import best_device
                    from workbench.models.model_cache import ModelCache

                    self.device = self.device or best_device()
                    self._backend = self._open()
                    self._cache = ModelCache(self._backend)
                return self._backend
            finally:
                self.settled = True

    def _open(self) -> Backend:
        from workbench.models.loading import load_backend

        if not self.embedded:
            try:
                self._check_device()
                return load_backend(self.teacher, self.device, resolution=self.resolution)
            # too little memory, a broken package ...: the page works on scenes, and says why
            except Exception as error:
                self.problem = (
                    f"{str(error).rstrip('.')}. Meanwhile this is the embedded scenes teacher."
                )
                self.teacher, self.student, self.resolution = "scenes", "", 0
        return load_backend(self.teacher, self.device)

    def _check_device(self) -> None:
        from workbench.models.size import parameters_of

        if self.device != "cpu" or self._device_chosen:
            return
        parameters = sum(parameters_of(self.teacher).values())
        if parameters > LARGE:
            raise ValueError(
                f"{self.teacher} has {parameters / 1e9:.1f} billion parameters, and there is no "
                "GPU here: an image would take minutes. Start on a machine with one, or insist "
                "with --device cpu"
            )

    @property
    def embedded(self) -> bool:
        """Whether the teacher ships with the package."""
        return self.teacher in EMBEDDED

    @property
    def size(self) -> str:
        """The memory that the teacher's weights will take, for people; empty if it is unknown."""
        from workbench.models.size import parameters_of

        parts = parameters_of(self.teacher) if not self.embedded else {}
        bytes_each = 2 if self.device.startswith("cuda") else 4
        shown = ", ".join(
            f"{part} {count * bytes_each / 2**30:.1f}"
            for part, count in parts.items()
            if count > 1e7
        )
        total = sum(parts.values()) * bytes_each / 2**30
        return f"{total:.1f} GiB of weights ({shown})" if shown else ""

    @property
    def defaults(self) -> GridRequest:
        """The request that the form starts with."""
        recipe = recipe_of(self.teacher)
        prompts = GridRequest().prompts if self.embedded else GENERAL_EXAMPLES[:1]
        return GridRequest(prompts, teacher_steps=recipe.teacher_steps, guidance=recipe.guidance)

    @property
    def examples(self) -> tuple[str, ...]:
        """Example prompts for the teacher."""
        return EXAMPLES if self.embedded else GENERAL_EXAMPLES

    def students(self) -> dict[str, str | Path]:
        """Every student of the teacher that can be chosen now."""
        from workbench.models.students import students_of

        return students_of(self.teacher, self.runs)

    def selected_students(self) -> list[str]:
        """The students selected at first: the requested one, else the embedded DMD and DP-DMD."""
        names = list(self.students())
        if self.student:
            return [name for name in names if name == self.student] or [
                name for name in names if name.startswith(self.student)
            ][:1]
        return [name for name in names if name in ("dmd", "dp-dmd")]

    def model_choices(self, chosen: list[str] | None = None) -> dict:
        """Choices, value and label of a form's list of models, the teacher alone before `load`;
        `chosen` None selects the teacher and `selected_students`.
        """
        names = [TEACHER, *(self.students() if self.settled else ())]
        if chosen is None:
            chosen = [TEACHER, *(self.selected_students() if self.settled else ())]
        return {
            "choices": [(model_title(name), name) for name in names],
            "value": [name for name in chosen if name in names],
            "label": f"Models of {self.teacher}",
        }

    def model_loader(self, request: GridRequest) -> ModelLoader:
        """Opens the request's models by name."""
        from workbench.grid.generate import model_loader

        return model_loader(request, self.load(), self.students(), self._cache)

    def check_prompt(self, prompt: str) -> None:
        """Raises ValueError if the teacher cannot take the prompt."""
        from workbench.models.loading import check_prompt

        check_prompt(self.load(), prompt)

    def warm_up(self) -> None:
        """Loads the teacher and samples two small images, so that the first grid is not slowed
        down by first-time costs.
        """
        try:
            backend = self.load()
            if self.embedded:
                from workbench.grid.generate import generate_grid

                request = GridRequest(seeds=(0, 1), teacher_steps=1)
                for _ in generate_grid(request, backend, self.model_loader(request)):
                    pass
        except Exception:  # no teacher: the page says so
            pass

    @property
    def device_title(self) -> str:
        """The device for people; waits for `load`."""
        try:
            self.load()
        except ValueError:  # the Compare tab says why
            pass
        return {"cuda": "CUDA GPU", "mps": "Apple GPU (MPS)", "cpu": "CPU"}.get(
            self.device, self.device
        )
