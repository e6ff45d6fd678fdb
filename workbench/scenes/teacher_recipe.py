"""The settings of an embedded teacher's training. No torch here: the command line reads it."""

from __future__ import annotations

from dataclasses import dataclass

from workbench.core.recipe import check_settings, setting


@dataclass(frozen=True)
class TeacherRecipe:
    """Both stages of `workbench.scenes.make_teacher`; sizes are global, over all processes."""

    family: str = setting(
        "sd3",
        "the flow teacher (an SD3 pipeline) or the eps teacher (an SDXL pipeline)",
        choices=("sd3", "sdxl"),
    )
    autoencoder_steps: int = setting(3000, "updates of the autoencoder")
    autoencoder_batch: int = setting(64, "scenes per update of the autoencoder")
    autoencoder_rate: float = setting(2e-3, "AdamW learning rate of the autoencoder")
    scenes: int = setting(
        131_072, "scenes that are drawn and encoded once, for the denoising network"
    )
    steps: int = setting(30_000, "updates of the denoising network and its text encoders")
    batch: int = setting(128, "scenes per update of the denoising network")
    rate: float = setting(1.5e-3, "AdamW learning rate of the denoising network")
    warm_up: int = setting(300, "updates over which a learning rate rises")
    caption_dropout: float = setting(0.1, "share of captions replaced by the empty one")
    facts: float = setting(0.1, "weight of the read-out of cell facts")
    long_text_every: int = setting(
        20, "each n-th update sees the 256 empty tokens that the SD3 pipeline adds by default"
    )
    average: float = setting(0.9995, "decay of the weight average that is kept as the teacher")
    seed: int = setting(0, "names every random stream")

    def __post_init__(self):
        check_settings(self)
