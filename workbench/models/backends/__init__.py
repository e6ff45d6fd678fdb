"""Real and embedded model families behind `workbench.core.denoiser.Backend`; the only modules that
know integer timesteps.

    family   pipeline                    network                 predicts   module
    sd3      StableDiffusion3Pipeline    SD3Transformer2DModel   velocity   `backends.sd3`
    sdxl     StableDiffusionXLPipeline   UNet2DConditionModel    eps        `backends.sdxl`

`backends.source` opens a teacher by hub id or folder and tells the family; `backends.scenes` knows
the embedded ones. `backends.published` knows few-step students of the real ones that others made.
"""

from transformers.utils import logging

# torchvision is optional in this project: that it is missing is no news
logging.set_verbosity_error()
