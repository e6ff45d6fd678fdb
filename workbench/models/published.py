"""Few-step students that others published, each with the scheduler, steps and guidance it was
published with: Table 2's rows and more.

    network = load_published(PUBLISHED["dmd2-sdxl"], backend)    # frozen; downloaded once

A LoRA becomes an adapter on the teacher's own network (`SharedBase.adopt`), so several of them
cost little; a whole network is a second one in memory (SD3.5-M 5 GB, SDXL's UNet 5 GB in half
precision). `Sampling` describes the published diffusers scheduler in our terms. Each comment names
the sources of its entry; none of the real files was opened here.
"""

from __future__ import annotations

import pickle
import re
from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path

import torch
from diffusers import UNet2DConditionModel
from huggingface_hub import hf_hub_download, snapshot_download
from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import Tensor, nn

from workbench.core.denoiser import Condition, NetworkDenoiser
from workbench.core.prediction import Prediction
from workbench.core.presets import SD3, SD35, SDXL
from workbench.core.recipe import same_teacher
from workbench.core.schedules import FlowSchedule, NoiseSchedule
from workbench.io.digests import file_digests, short_digest
from workbench.io.hub import from_hub
from workbench.models.backends.networks import base_state, differing
from workbench.models.backends.pipeline import PipelineBackend

# The marks of each teacher. SD3-M's LoRAs would fit SD3.5-M's layers, and make noise there.
_LOOKS_LIKE = {
    SD3: lambda network: (
        not isinstance(network, UNet2DConditionModel) and not network.config.qk_norm
    ),
    SD35: lambda network: (
        not isinstance(network, UNet2DConditionModel) and bool(network.config.dual_attention_layers)
    ),
    SDXL: lambda network: isinstance(network, UNet2DConditionModel),
}


class PublishedError(ValueError):
    """A published student that cannot be opened; the message names the cause and the way out."""


@dataclass(frozen=True)
class Sampling:
    """A published scheduler: `times(schedule, steps)` [steps + 1], and the sampler's settings (see
    `workbench.core.sampler`).
    """

    scheduler: str
    times: Callable[[NoiseSchedule, int], Tensor]
    sampler: str = "ode"
    renoise_fraction: float = 1.0
    whole_timesteps: bool = False  # the network gets its timestep rounded down


@dataclass(frozen=True)
class Published:
    """One published student. `files` are LoRAs that add up, or with `whole` one network; none
    means the repository's only weights.

    `scale` multiplies a LoRA's alpha / rank, which is 1 where the file holds no alpha.
    """

    title: str
    teacher: str
    repo: str
    files: tuple[str, ...]
    sampling: Sampling
    licence: str
    guidance: float = 1.0
    scale: float = 1.0
    steps: int = 4
    whole: bool = False

    @property
    def source(self) -> str:
        """Its page on the hub."""
        return f"https://huggingface.co/{self.repo}"


def _lcm_times(schedule: NoiseSchedule, steps: int) -> Tensor:
    """Timesteps 999, 759, 499, 259 for 4 steps: LCMScheduler takes them from 50 of its own."""
    picked = 50 - torch.arange(steps) * 50 // steps
    return torch.cat([picked / 50, torch.zeros(1)])


def _ddim_times(schedule: NoiseSchedule, steps: int) -> Tensor:
    """Trailing timesteps; SDXL's `set_alpha_to_one: false` ends them at the first training level,
    not at clean data.
    """
    return torch.cat([schedule.sampling_times(steps)[:-1], torch.tensor([1 / schedule.levels])])


def _dpm_times(schedule: NoiseSchedule, steps: int, shift: float = 6.0) -> Tensor:
    return (
        FlowSchedule(shift)
        .shifted(torch.linspace(1 - 1 / schedule.levels, 0, steps + 1, dtype=torch.float64))
        .float()
    )


def _even(schedule: NoiseSchedule, steps: int) -> Tensor:
    return schedule.sampling_times(steps, "even")


def _euler_times(schedule: NoiseSchedule, steps: int) -> Tensor:
    return schedule.sampling_times(steps, "diffusers")


EULER = Sampling("FlowMatchEuler", _euler_times)
FLASH = Sampling("FlashFlowMatchEuler", _euler_times, "renoise")
CPS = Sampling("CPS, eta 0.9", _even, "renoise", renoise_fraction=0.9)
DPM = Sampling("DPMSolverMultistep, flow shift 6", _dpm_times, "multistep", whole_timesteps=True)
DDIM = Sampling("DDIM trailing", _ddim_times)
LCM = Sampling("LCM", _lcm_times, "renoise")
LCM_EVEN = Sampling("LCM at 999, 749, 499, 249", _even, "renoise")

PUBLISHED = {
    # File and call: README of Multimedia-Analytics-Laboratory/dpdmd. The licence is that of the
    # code; the weights' was not found.
    "dp-dmd-official": Published(
        "DP-DMD, official",
        SD35,
        "TianheWu/dpdmd",
        ("DPDMD-SD35M-4NFE-natural.pt",),
        EULER,
        "code Apache-2.0, weights not stated",
        whole=True,
    ),
    # Files, rank and alpha (32, 64), both LoRAs together: the model's card. Sampler, steps: its
    # code's configs/inference/sd35m.yaml.
    "rtdmd-sd35": Published(
        "RTDMD",
        SD35,
        "Harahan/SD35M-RTDMD",
        ("cold_start/generator_ema.pt", "rtdmd/generator_ema.pt"),
        CPS,
        "Apache-2.0",
        scale=2.0,
    ),
    # File list of the hub, scale of the card. Guidance 3 at 4 steps: secondary sources only (the
    # card's example is 8 steps at 5).
    "hyper-sd3": Published(
        "Hyper-SD, CFG",
        SD3,
        "ByteDance/Hyper-SD",
        ("Hyper-SD3-4steps-CFG-lora.safetensors",),
        EULER,
        "not stated (openrail++ in 2024)",
        guidance=3.0,
        scale=0.125,
    ),
    # File list and licence of the hub. Scale: its training code sets rank 64 and leaves peft's
    # alpha of 8. The scheduler comes from the authors' fork of diffusers, which was not read; it is
    # taken to re-noise at FlowMatchEuler's own sigmas.
    "flash-sd3": Published(
        "Flash Diffusion",
        SD3,
        "jasperai/flash-sd3",
        ("adapter_model.safetensors",),
        FLASH,
        "CC-BY-NC-4.0",
        scale=0.125,
    ),
    # Repository, scale, scheduler and its flow shift (1 to 6 may be tried): README of
    # Luo-Yihong/TDM, which names no file. It takes the other settings from Sana's scheduler file,
    # which was not read: DPM-Solver++(2M) on flow sigmas is assumed.
    "tdm-sd3": Published(
        "TDM",
        SD3,
        "Luo-Yihong/TDM_sd3_lora",
        (),
        DPM,
        "Apache-2.0 (of Luo-Yihong/TDM)",
        scale=0.125,
    ),
    # README of tianweiy/DMD2 and file list of the hub. The README loads the .bin; the names in the
    # .safetensors were not read.
    "dmd2-sdxl": Published(
        "DMD2",
        SDXL,
        "tianweiy/DMD2",
        ("dmd2_sdxl_4step_unet_fp16.bin",),
        LCM_EVEN,
        "CC-BY-NC-4.0",
        whole=True,
    ),
    "dmd2-sdxl-lora": Published(
        "DMD2 LoRA",
        SDXL,
        "tianweiy/DMD2",
        ("dmd2_sdxl_4step_lora_fp16.safetensors",),
        LCM_EVEN,
        "CC-BY-NC-4.0",
    ),
    # File list of the hub; scheduler, scale and guidance: Hyper-SD's card as others quote it.
    "hyper-sdxl": Published(
        "Hyper-SD",
        SDXL,
        "ByteDance/Hyper-SD",
        ("Hyper-SDXL-4steps-lora.safetensors",),
        DDIM,
        "not stated (openrail++ in 2024)",
    ),
    # File list and licence of the hub; the call: README of gojasper/flash-diffusion.
    "flash-sdxl": Published(
        "Flash Diffusion",
        SDXL,
        "jasperai/flash-sdxl",
        ("pytorch_lora_weights.safetensors",),
        LCM,
        "CC-BY-NC-ND-4.0",
    ),
}


def published_of(teacher: str) -> dict[str, Published]:
    """The published students of a teacher, by its hub id or a folder of the same name."""
    return {
        name: entry for name, entry in PUBLISHED.items() if same_teacher(entry.teacher, teacher)
    }


@dataclass(frozen=True)
class WholeTimesteps:
    """A denoiser whose network gets t rounded down to a training level, while its steps start from
    t itself.
    """

    denoiser: NetworkDenoiser

    @property
    def schedule(self) -> NoiseSchedule:
        """The denoiser's own."""
        return self.denoiser.schedule

    @property
    def network(self) -> nn.Module:
        """The denoiser's own."""
        return self.denoiser.network

    def __call__(self, x_t: Tensor, t: Tensor, condition: Condition | None) -> Prediction:
        """The prediction at x_t [B, ...], t [B] of the network at the rounded t."""
        levels = self.schedule.levels
        return replace(self.denoiser(x_t, (t * levels).floor() / levels, condition), t=t)


def load_published(entry: Published, backend: PipelineBackend) -> nn.Module:
    """The student's network, frozen, on the open teacher. Raises `PublishedError`."""
    if not _LOOKS_LIKE[entry.teacher](backend.network):
        raise PublishedError(
            f"{entry.title} ({entry.repo}) is a student of {entry.teacher}, and another teacher "
            "is open: open that one, by its hub id or as a folder"
        )
    if entry in backend.adapters.adopted:
        return backend.adapters.adopted[entry]
    states = [_read(path) for path in _paths(entry)]
    try:
        if entry.whole:
            return _whole(*states, backend.network)
        weights, alphas = _lora(states, backend)
        return backend.adapters.adopted.setdefault(
            entry, backend.adapters.adopt(weights, alphas, entry.scale)
        )
    except (ValueError, RuntimeError) as error:
        raise PublishedError(
            f"{entry.title} ({entry.repo}) does not fit the teacher that is open: {error}. It was "
            f"made for {entry.teacher}: open that one"
        ) from error


def published_revision(entry: Published) -> str:
    """The hub's revision of an entry that was loaded."""
    parts = Path(_paths(entry)[0]).parts
    return parts[parts.index("snapshots") + 1] if "snapshots" in parts else ""


def published_weights(entry: Published) -> str:
    """The digest of an entry's files."""
    return short_digest([*file_digests(_paths(entry)), entry.scale])


def _paths(entry: Published) -> list[str]:
    """The entry's files in the hub's cache, downloaded if they are missing."""

    def fetched(fetch: Callable[[], str], what: str) -> str:
        return from_hub(
            entry.repo,
            fetch,
            error=PublishedError,
            absent=f"{entry.repo} no longer holds {what}: see its files at {entry.source}",
            offline=f"{what} of {entry.repo} is not in the hub cache, and the hub cannot be "
            "reached: connect to the network and unset HF_HUB_OFFLINE, or run "
            f"`hf download {entry.repo}` elsewhere and copy its cache here",
        )

    if entry.files:
        return [fetched(partial(hf_hub_download, entry.repo, file), file) for file in entry.files]
    folder = Path(
        fetched(
            partial(snapshot_download, entry.repo, allow_patterns=["*.safetensors", "*.bin"]),
            "its weights",
        )
    )
    files = sorted(folder.rglob("*.safetensors")) or sorted(folder.rglob("*.bin"))
    if len(files) != 1:
        raise PublishedError(
            f"{entry.repo} should hold one file of weights, and holds "
            f"{[path.name for path in files] or 'none'}: look up the right one at {entry.source}, "
            "and name it in workbench/models/published.py"
        )
    return [str(files[0])]


def _read(path: str) -> dict[str, Tensor]:
    """The tensors of a file, never running code of a pickle. Raises `PublishedError`."""
    try:
        if path.endswith(".safetensors"):
            return load_file(path)
        state = torch.load(path, map_location="cpu", weights_only=True)
    except (SafetensorError, pickle.UnpicklingError, RuntimeError, EOFError, OSError) as error:
        raise PublishedError(
            f"{path} is damaged, or holds more than tensors: {error}. Delete it to download it "
            "again"
        ) from error
    if not isinstance(state, dict) or not all(
        isinstance(tensor, Tensor) for tensor in state.values()
    ):
        raise PublishedError(
            f"{path} is no state dict of names and tensors; its authors may have changed it"
        )
    return state


def _whole(state: dict[str, Tensor], teacher: nn.Module) -> nn.Module:
    """A network of the teacher's class, precision and device with these tensors. Raises
    ValueError.
    """
    if wrong := differing(state, base_state(teacher)):
        raise ValueError(f"{len(wrong)} tensors differ in name or shape, {wrong[0]} first")
    with torch.device("meta"):  # no memory, no initialisation: the weights are replaced
        network = type(teacher).from_config(teacher.config)
    network.load_state_dict(
        {name: tensor.to(teacher.device, teacher.dtype) for name, tensor in state.items()},
        assign=True,
    )
    return network.eval().requires_grad_(False)


def _lora(
    states: list[dict[str, Tensor]], backend: PipelineBackend
) -> tuple[dict[str, Tensor], dict[str, float]]:
    """The LoRAs' sum under diffusers' present names, and their alphas."""
    if isinstance(backend.network, UNet2DConditionModel):
        from diffusers import StableDiffusionXLPipeline
        from diffusers.utils import convert_unet_state_dict_to_peft

        [state] = states
        weights, alphas = StableDiffusionXLPipeline.lora_state_dict(
            state, unet_config=backend.network.config
        )
        return convert_unet_state_dict_to_peft(weights), alphas or {}
    states = [
        {_transformer_name(name): tensor for name, tensor in state.items()} for state in states
    ]
    # ranks side by side: [B1 B2] [A1; A2] = B1 A1 + B2 A2
    return {
        name: torch.cat(
            [state[name] for state in states if name in state], 0 if ".lora_A." in name else 1
        )
        for name in dict.fromkeys(name for state in states for name in state)
    }, {}


def _transformer_name(name: str) -> str:
    """The name in diffusers of a tensor that peft (base_model.model.), torch (module.) or an
    adapter's name has wrapped.
    """
    bare = re.sub(r"^(module\.|base_model\.model\.|transformer\.)*", "", name)
    return "transformer." + re.sub(r"\.lora_([AB])\.\w+\.weight$", r".lora_\1.weight", bare)
