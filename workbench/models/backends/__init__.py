"""Teacher families as `workbench.core.denoiser.Backend`; the only modules that know integer
timesteps.

    family   pipeline                    network                 predicts   module
    sd3      StableDiffusion3Pipeline    SD3Transformer2DModel   velocity   `sd3`
    sdxl     StableDiffusionXLPipeline   UNet2DConditionModel    eps        `sdxl`

`source` opens a teacher by hub id or folder and holds the families (`FAMILIES`).
`workbench.models.embedded` knows the embedded teachers, and `workbench.models.published` few-step
students of the real ones that others trained.
"""

from transformers.utils import logging

# torchvision is optional in this project: that it is missing is no news
logging.set_verbosity_error()
