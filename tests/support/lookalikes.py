"""Tiny files with the names inside that published students have, and how diffusers loads and
samples each the published way.
"""

import copy
import math

import torch
from diffusers import (
    DDIMScheduler,
    DPMSolverMultistepScheduler,
    FlowMatchEulerDiscreteScheduler,
    LCMScheduler,
)
from peft import LoraConfig, PeftModel, get_peft_model
from safetensors.torch import save_file

from tests.support.pipelines import tiny_pipeline, tiny_sdxl_pipeline
from workbench.core import seeds
from workbench.core.presets import SD3, SD35, SDXL
from workbench.models.backends.sd3 import SD3Backend
from workbench.models.backends.sdxl import SDXLBackend

PROMPTS, SEEDS = ["a red circle", "two stars"], [3, 4]
ATTENTION = ("to_q", "to_k", "to_v", "to_out.0")
MMDIT = (*ATTENTION, "add_q_proj", "add_k_proj", "add_v_proj", "to_add_out")
# extract_lora_module.py of tianweiy/DMD2
DMD2 = (
    *ATTENTION,
    "proj_in",
    "proj_out",
    "ff.net.0.proj",
    "ff.net.2",
    "conv1",
    "conv2",
    "conv_shortcut",
    "downsamplers.0.conv",
    "upsamplers.0.conv",
    "time_emb_proj",
)
# train_flash_sd3.py of gojasper/flash-diffusion
FLASH_SD3 = [
    *ATTENTION,
    "proj_in",
    "proj_out",
    "ff.net.0.proj",
    "ff.net.2",
    "proj",
    "linear",
    "linear_1",
    "linear_2",
]
# the scheduler of Efficient-Large-Model/Sana_1600M_1024px_BF16_diffusers, which TDM's README takes,
# at its flow_shift of 6
SANA = dict(
    algorithm_type="dpmsolver++",
    flow_shift=6.0,
    prediction_type="flow_prediction",
    solver_order=2,
    use_flow_sigmas=True,
)


def tiny(teacher):
    """A pipeline with what tells the teacher from the others, and random weights."""
    pipeline = {
        SD3: lambda: tiny_pipeline(qk_norm=None),
        SD35: lambda: tiny_pipeline(dual_attention_layers=(0,)),
        SDXL: tiny_sdxl_pipeline,
    }[teacher]()
    pipeline.set_progress_bar_config(disable=True)
    return pipeline


def backend_of(teacher):
    return (SDXLBackend if teacher == SDXL else SD3Backend)(tiny(teacher))


def halves(network, targets, rank, seed=0):
    """Random lora_A and lora_B of every layer with such a name."""
    generator = torch.Generator().manual_seed(seed)
    return {
        name: (
            torch.randn(rank, *layer.weight.shape[1:], generator=generator) * 0.3,
            torch.randn(
                layer.weight.shape[0], rank, *[1] * (layer.weight.ndim - 2), generator=generator
            )
            * 0.3,
        )
        for name, layer in network.named_modules()
        if isinstance(layer, (torch.nn.Linear, torch.nn.Conv2d))
        and any(name.endswith(f".{target}") for target in targets)
    }


def save_peft(path, layers, prefix):
    tensors = {
        f"{prefix}.{name}.lora_{part}.weight": tensor
        for name, pair in layers.items()
        for part, tensor in zip("AB", pair)
    }
    save_file(tensors, path)


def save_kohya(path, layers, alpha):
    tensors = {}
    for name, (a, b) in layers.items():
        key = "lora_unet_" + name.replace(".", "_")
        tensors |= {
            f"{key}.lora_down.weight": a,
            f"{key}.lora_up.weight": b,
            f"{key}.alpha": torch.tensor(alpha),
        }
    save_file(tensors, path)


def save_state(path, network):
    """The state dict of another network of that class, its tensors pickled as the real .bin files
    are: by _rebuild_from_type_v2.
    """
    other = {
        name: torch.nn.Parameter(tensor.clone() * 1.2).detach()
        for name, tensor in network.state_dict().items()
    }
    for tensor in other.values():
        tensor.kept = True
    torch.save(other, path)


# ---- what each repository holds: PATH of its folder -> the files, written with the names of the
# published ones


def write_official(folder, pipeline):
    save_state(folder / "DPDMD-SD35M-4NFE-natural.pt", pipeline.transformer)


def write_rtdmd(folder, pipeline):
    for seed, name in enumerate(("cold_start", "rtdmd")):
        (folder / name).mkdir()
        torch.save(
            {
                f"{layer}.lora_{part}.default.weight": tensor
                for layer, pair in halves(pipeline.transformer, MMDIT, 4, seed).items()
                for part, tensor in zip("AB", pair)
            },
            folder / name / "generator_ema.pt",
        )


def write_hyper_sd3(folder, pipeline):
    save_peft(
        folder / "Hyper-SD3-4steps-CFG-lora.safetensors",
        halves(pipeline.transformer, MMDIT, 8),
        "transformer",
    )


def write_flash_sd3(folder, pipeline):
    config = LoraConfig(
        r=64, target_modules=FLASH_SD3, init_lora_weights=False
    )  # alpha as the training code leaves it
    get_peft_model(copy.deepcopy(pipeline.transformer), config).save_pretrained(folder)


def write_tdm(folder, pipeline):
    save_peft(
        folder / "some_name.safetensors", halves(pipeline.transformer, MMDIT, 8), "transformer"
    )


def write_dmd2(folder, pipeline):
    save_state(folder / "dmd2_sdxl_4step_unet_fp16.bin", pipeline.unet)


def write_dmd2_lora(folder, pipeline):
    save_kohya(
        folder / "dmd2_sdxl_4step_lora_fp16.safetensors", halves(pipeline.unet, DMD2, 16), 8.0
    )


def write_hyper_sdxl(folder, pipeline):
    save_kohya(folder / "Hyper-SDXL-4steps-lora.safetensors", halves(pipeline.unet, DMD2, 4), 4.0)


def write_flash_sdxl(folder, pipeline):
    save_peft(
        folder / "pytorch_lora_weights.safetensors", halves(pipeline.unet, ATTENTION, 4), "unet"
    )


# ---- and how its README or card loads it and sets the scheduler; returns the settings of the call


def call_official(pipeline, folder):
    pipeline.transformer.load_state_dict(
        torch.load(folder / "DPDMD-SD35M-4NFE-natural.pt", weights_only=True)
    )
    return {}


def call_rtdmd(pipeline, folder):
    weights = dict(pipeline.transformer.named_parameters())
    for name in ("cold_start", "rtdmd"):
        state = torch.load(folder / name / "generator_ema.pt")
        for key in [key for key in state if "lora_A" in key]:
            change = state[key.replace("lora_A", "lora_B")] @ state[key]
            weights[key.replace(".lora_A.default", "")].data += 64 / 32 * change
    pipeline.scheduler = CPSScheduler(shift=3.0)
    return {"sigmas": [1.0, 0.9, 0.75, 0.5]}


def call_hyper_sd3(pipeline, folder):
    pipeline.load_lora_weights(folder / "Hyper-SD3-4steps-CFG-lora.safetensors")
    pipeline.fuse_lora(lora_scale=0.125)
    return {"guidance_scale": 3.0}


def call_flash_sd3(pipeline, folder):
    pipeline.transformer = PeftModel.from_pretrained(
        pipeline.transformer, folder
    ).merge_and_unload()
    pipeline.scheduler = FlowMatchEulerDiscreteScheduler(shift=3.0, stochastic_sampling=True)
    return {"guidance_scale": 0}


def call_tdm(pipeline, folder):
    pipeline.load_lora_weights(folder, weight_name="some_name.safetensors", adapter_name="tdm")
    pipeline.set_adapters(["tdm"], [0.125])
    pipeline.scheduler = DPMSolverMultistepScheduler(**SANA)
    return {}


def lcm(pipeline, **settings):
    pipeline.scheduler = LCMScheduler.from_config(pipeline.scheduler.config, **settings)


def call_dmd2(pipeline, folder):
    pipeline.unet.load_state_dict(torch.load(folder / "dmd2_sdxl_4step_unet_fp16.bin"))
    lcm(pipeline)
    return {"guidance_scale": 0, "timesteps": [999, 749, 499, 249]}


def call_dmd2_lora(pipeline, folder):
    pipeline.load_lora_weights(folder / "dmd2_sdxl_4step_lora_fp16.safetensors")
    pipeline.fuse_lora(lora_scale=1.0)
    lcm(pipeline)
    return {"guidance_scale": 0, "timesteps": [999, 749, 499, 249]}


def call_hyper_sdxl(pipeline, folder):
    pipeline.load_lora_weights(folder / "Hyper-SDXL-4steps-lora.safetensors")
    pipeline.fuse_lora()
    pipeline.scheduler = DDIMScheduler.from_config(
        pipeline.scheduler.config,
        timestep_spacing="trailing",
        set_alpha_to_one=False,
        clip_sample=False,
    )  # both as in SDXL's own scheduler_config.json
    return {"guidance_scale": 0}


def call_flash_sdxl(pipeline, folder):
    pipeline.load_lora_weights(folder)
    pipeline.fuse_lora()
    lcm(pipeline, timestep_spacing="trailing")
    return {"guidance_scale": 0}


class CPSScheduler(FlowMatchEulerDiscreteScheduler):
    """The step of rtdmd/schedulers/cps_scheduler.py at eta 0.9, on sigmas that are shifted
    already.
    """

    def set_timesteps(self, sigmas=None, device=None, **_):
        self.sigmas = torch.tensor([*sigmas, 0.0])
        self.timesteps, self._step_index = self.sigmas[:-1] * 1000, 0

    def step(self, output, timestep, sample, return_dict=False):
        now, after = self.sigmas[self._step_index : self._step_index + 2]
        self._step_index += 1
        clean, noise, angle = sample - now * output, sample + (1 - now) * output, 0.9 * math.pi / 2
        return (
            (1 - after) * clean
            + after * (math.cos(angle) * noise + math.sin(angle) * FRESH(self._step_index)),
        )


FRESH = seeds.grid_renoise(
    (4, 8, 8), SEEDS
)  # the fresh noise of every scheduler, by the number of the step

CASES = {
    "dp-dmd-official": (write_official, call_official),
    "rtdmd-sd35": (write_rtdmd, call_rtdmd),
    "hyper-sd3": (write_hyper_sd3, call_hyper_sd3),
    "flash-sd3": (write_flash_sd3, call_flash_sd3),
    "tdm-sd3": (write_tdm, call_tdm),
    "dmd2-sdxl": (write_dmd2, call_dmd2),
    "dmd2-sdxl-lora": (write_dmd2_lora, call_dmd2_lora),
    "hyper-sdxl": (write_hyper_sdxl, call_hyper_sdxl),
    "flash-sdxl": (write_flash_sdxl, call_flash_sdxl),
}
