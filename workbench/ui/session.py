"""What every tab shares: the device, the loaded teacher and the runs folder."""

from __future__ import annotations

import threading
from dataclasses import dataclass, field
from pathlib import Path

from workbench.core.denoiser import Backend
from workbench.core.presets import recipe_of
from workbench.grid.generate import ModelLoader, generate_grid, model_loader
from workbench.grid.request import GridRequest
from workbench.io.notation import TEACHER, model_title
from workbench.models.embedded import EMBEDDED
from workbench.models.loading import best_device, check_prompt, load_backend
from workbench.models.model_cache import ModelCache
from workbench.models.size import parameters_of
from workbench.models.students import students_of
from workbench.scenes.grammar import EXAMPLES

# One queue for everything that computes: without a common id, listeners would run at the same time
# and share a device badly.
ON_DEVICE = {"concurrency_id": "device", "concurrency_limit": 1}
GENERAL_EXAMPLES = (
    "a red fox in the snow, photograph",
    "an old sailor, oil painting",
    "a small house by a lake at dusk",
    "a bowl of fruit on a wooden table",
    "a city street in the rain, watercolour",
)
LARGE = 500_000_000  # parameters of a teacher that nobody wants to wait for without a GPU


@dataclass
class Session:
    """Where the app works. The teacher is loaded at first use and kept; one that cannot be is
    replaced by the embedded one, and `problem` says why.
    """

    teacher: str = "scenes"
    runs: Path = Path("runs")
    device: str = ""  # empty: the first that is there
    wanted: str = ""  # a student to be ticked at first, by its name or how that begins
    resolution: int = 0
    problem: str = ""
    settled: bool = False  # whether it is known which teacher there is
    _lock: threading.Lock = field(default_factory=threading.Lock, repr=False)
    _backend: Backend | None = field(default=None, repr=False)
    _residents: ModelCache | None = field(default=None, repr=False)

    def __post_init__(self):
        self._device_chosen, self.device = bool(self.device), self.device or best_device()

    @property
    def backend(self) -> Backend:
        """The teacher's backend, when it is loaded. Raises ValueError, with the way out, when not
        even the embedded one can be.
        """
        with self._lock:
            try:
                if self._backend is None:
                    self._backend = self._open()
                    self._residents = ModelCache(self._backend)
                return self._backend
            finally:
                self.settled = True

    def _open(self) -> Backend:
        if self.teacher not in EMBEDDED:
            try:
                self._check_device()
                return load_backend(self.teacher, self.device, resolution=self.resolution)
            # too little memory, a broken package ...: the page works on scenes, and says why
            except Exception as error:
                self.problem = (
                    f"{str(error).rstrip('.')}. Meanwhile this is the embedded scenes teacher."
                )
                self.teacher, self.wanted, self.resolution = "scenes", "", 0
        return load_backend(self.teacher, self.device)

    def _check_device(self) -> None:
        if self.device != "cpu" or self._device_chosen:
            return
        parameters = sum(parameters_of(self.teacher).values())
        if parameters > LARGE:
            raise ValueError(
                f"{self.teacher} has {parameters / 1e9:.1f} billion parameters, and there is no "
                "GPU here: an image would "
                "take minutes. Start on a machine with one, or insist with --device cpu"
            )

    @property
    def size(self) -> str:
        """The memory that the teacher's weights will take, for people; empty where it is not
        known.
        """
        parts = parameters_of(self.teacher) if self.teacher not in EMBEDDED else {}
        per_number = 2 if self.device.startswith("cuda") else 4
        shown = ", ".join(
            f"{part} {count * per_number / 2**30:.1f}"
            for part, count in parts.items()
            if count > 1e7
        )
        return (
            f"{sum(parts.values()) * per_number / 2**30:.1f} GiB of weights ({shown})"
            if shown
            else ""
        )

    @property
    def defaults(self) -> GridRequest:
        """The request that the form begins with."""
        recipe = recipe_of(self.teacher)
        prompts = GridRequest().prompts if self.teacher in EMBEDDED else GENERAL_EXAMPLES[:1]
        return GridRequest(prompts, teacher_steps=recipe.teacher_steps, guidance=recipe.guidance)

    @property
    def examples(self) -> tuple[str, ...]:
        return EXAMPLES if self.teacher in EMBEDDED else GENERAL_EXAMPLES

    def students(self) -> dict[str, str | Path]:
        """Every student of the teacher on offer now."""
        return students_of(self.teacher, self.runs)

    def ticked(self) -> list[str]:
        """The students to be ticked at first: the one that was wanted, or else the embedded DMD
        and DP-DMD.
        """
        names = list(self.students())
        if self.wanted:
            return [name for name in names if name == self.wanted] or [
                n for n in names if n.startswith(self.wanted)
            ][:1]
        return [name for name in names if name in ("dmd", "dp-dmd")]

    def model_choices(self, chosen: list[str] | None = None) -> dict:
        """Choices, value and label of a form's list of models; `chosen` None ticks the teacher and
        the students to begin with.
        """
        names = [TEACHER, *self.students()]
        value = (
            [TEACHER, *self.ticked()]
            if chosen is None
            else [name for name in chosen if name in names]
        )
        return {
            "choices": [(model_title(name), name) for name in names],
            "value": value,
            "label": f"Models of {self.teacher}",
        }

    def opener(self, request: GridRequest) -> ModelLoader:
        return model_loader(request, self.backend, self.students(), self._residents)

    def check_prompt(self, prompt: str) -> None:
        check_prompt(self.backend, prompt)

    def warm(self) -> None:
        """Reads the teacher and makes two small images, so that the first grid does not wait for
        what is slow only once.
        """
        try:
            if self.backend and self.teacher in EMBEDDED:
                request = GridRequest(seeds=(0, 1), teacher_steps=1)
                for _ in generate_grid(request, self.backend, self.opener(request)):
                    pass
        except Exception:  # no teacher: the page says so
            pass

    @property
    def device_title(self) -> str:
        return {"cuda": "CUDA GPU", "mps": "Apple GPU (MPS)", "cpu": "CPU"}.get(
            self.device, self.device
        )
