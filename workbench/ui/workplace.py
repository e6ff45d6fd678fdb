"""What every tab shares: the device, the loaded teacher and the runs folder."""

from __future__ import annotations

import threading
from dataclasses import dataclass, field
from pathlib import Path

from workbench.build import best_device, check_prompt, found_students, load_backend, shipped_students
from workbench.denoiser import Backend
from workbench.grid import opener, paint
from workbench.grid_request import GridRequest

# One queue for everything that computes: without a common id, listeners would run at the same time and share a device badly.
ON_DEVICE = {"concurrency_id": "device", "concurrency_limit": 1}


@dataclass
class Workplace:
    """Where the app works. The teacher is loaded at first use and kept; a failure is raised to whoever asks."""

    teacher: str = "scenes"
    runs: Path = Path("runs")
    device: str = field(default_factory=best_device)
    _lock: threading.Lock = field(default_factory=threading.Lock, repr=False)
    _backend: Backend | None = field(default=None, repr=False)

    @property
    def backend(self) -> Backend:
        """The teacher's backend. Raises ValueError, with the way out, when there is none."""
        with self._lock:
            if self._backend is None:
                self._backend = load_backend(self.teacher, self.device)
            return self._backend

    def students(self) -> dict[str, Path]:
        """Every student on offer now: the embedded ones with the embedded teacher, and those of the runs folder."""
        embedded = shipped_students() if self.teacher != "scenes" else {}
        return {name: path for name, path in found_students(self.runs).items() if name not in embedded}

    def check_prompt(self, prompt: str) -> None:
        check_prompt(self.backend, prompt)

    def warm(self) -> None:
        """Reads the teacher and makes two small images, so that the first grid does not wait for what is slow only once."""
        try:
            request = GridRequest(seeds=(0, 1), teacher_steps=1)
            for _ in paint(request, self.backend, opener(request, self.backend, {})):
                pass
        except ValueError:  # no teacher: the page says so
            pass

    @property
    def device_title(self) -> str:
        return {"cuda": "CUDA GPU", "mps": "Apple GPU (MPS)", "cpu": "CPU"}.get(self.device, self.device)
