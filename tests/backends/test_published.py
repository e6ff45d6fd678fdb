"""Published students: look-alike files with the published names, against diffusers loading and sampling them the published way."""

import copy
import dataclasses
import math

import pytest
import torch
from diffusers import DDIMScheduler, DPMSolverMultistepScheduler, FlowMatchEulerDiscreteScheduler, LCMScheduler
from huggingface_hub import constants, errors
from peft import LoraConfig, PeftModel, get_peft_model
from safetensors.torch import save_file

from tests.backends.test_source import response
from tests.conftest import tiny_pipeline, tiny_sdxl_pipeline
from workbench import seeds
from workbench.backends import published
from workbench.backends.published import PUBLISHED, SD3, SD35, SDXL, PublishedError, load_published, published_of
from workbench.backends.sd3 import SD3Backend
from workbench.backends.sdxl import SDXLBackend
from workbench.models import open_model, teacher_model

PROMPTS, SEEDS = ["a red circle", "two stars"], [3, 4]
ATTENTION = ("to_q", "to_k", "to_v", "to_out.0")
MMDIT = (*ATTENTION, "add_q_proj", "add_k_proj", "add_v_proj", "to_add_out")
# extract_lora_module.py of tianweiy/DMD2
DMD2 = (*ATTENTION, "proj_in", "proj_out", "ff.net.0.proj", "ff.net.2", "conv1", "conv2", "conv_shortcut", "downsamplers.0.conv",
        "upsamplers.0.conv", "time_emb_proj")
# train_flash_sd3.py of gojasper/flash-diffusion
FLASH_SD3 = [*ATTENTION, "proj_in", "proj_out", "ff.net.0.proj", "ff.net.2", "proj", "linear", "linear_1", "linear_2"]
# the scheduler of Efficient-Large-Model/Sana_1600M_1024px_BF16_diffusers, which TDM's README takes, at its flow_shift of 6
SANA = dict(algorithm_type="dpmsolver++", flow_shift=6.0, prediction_type="flow_prediction", solver_order=2, use_flow_sigmas=True)


def tiny(teacher):
    """A pipeline with what tells the teacher from the others, and random weights."""
    pipeline = {SD3: lambda: tiny_pipeline(qk_norm=None), SD35: lambda: tiny_pipeline(dual_attention_layers=(0,)),
                SDXL: tiny_sdxl_pipeline}[teacher]()
    pipeline.set_progress_bar_config(disable=True)
    return pipeline


def backend_of(teacher):
    return (SDXLBackend if teacher == SDXL else SD3Backend)(tiny(teacher))


def halves(network, targets, rank, seed=0):
    """Random lora_A and lora_B of every layer with such a name."""
    generator = torch.Generator().manual_seed(seed)
    return {name: (torch.randn(rank, *layer.weight.shape[1:], generator=generator) * 0.3,
                   torch.randn(layer.weight.shape[0], rank, *[1] * (layer.weight.ndim - 2), generator=generator) * 0.3)
            for name, layer in network.named_modules()
            if isinstance(layer, (torch.nn.Linear, torch.nn.Conv2d)) and any(name.endswith(f".{target}") for target in targets)}


def save_peft(path, layers, prefix):
    tensors = {f"{prefix}.{name}.lora_{part}.weight": tensor for name, pair in layers.items() for part, tensor in zip("AB", pair)}
    save_file(tensors, path)


def save_kohya(path, layers, alpha):
    tensors = {}
    for name, (a, b) in layers.items():
        key = "lora_unet_" + name.replace(".", "_")
        tensors |= {f"{key}.lora_down.weight": a, f"{key}.lora_up.weight": b, f"{key}.alpha": torch.tensor(alpha)}
    save_file(tensors, path)


def save_state(path, network):
    """The state dict of another network of that class, its tensors pickled as the real .bin files are: by _rebuild_from_type_v2."""
    other = {name: torch.nn.Parameter(tensor.clone() * 1.2).detach() for name, tensor in network.state_dict().items()}
    for tensor in other.values():
        tensor.kept = True
    torch.save(other, path)


# ---- what each repository holds: PATH of its folder -> the files, written with the names of the published ones

def write_official(folder, pipeline):
    save_state(folder / "DPDMD-SD35M-4NFE-natural.pt", pipeline.transformer)


def write_rtdmd(folder, pipeline):
    for seed, name in enumerate(("cold_start", "rtdmd")):
        (folder / name).mkdir()
        torch.save({f"{layer}.lora_{part}.default.weight": tensor
                    for layer, pair in halves(pipeline.transformer, MMDIT, 4, seed).items() for part, tensor in zip("AB", pair)},
                   folder / name / "generator_ema.pt")


def write_hyper_sd3(folder, pipeline):
    save_peft(folder / "Hyper-SD3-4steps-CFG-lora.safetensors", halves(pipeline.transformer, MMDIT, 8), "transformer")


def write_flash_sd3(folder, pipeline):
    config = LoraConfig(r=64, target_modules=FLASH_SD3, init_lora_weights=False)  # alpha as the training code leaves it
    get_peft_model(copy.deepcopy(pipeline.transformer), config).save_pretrained(folder)


def write_tdm(folder, pipeline):
    save_peft(folder / "some_name.safetensors", halves(pipeline.transformer, MMDIT, 8), "transformer")


def write_dmd2(folder, pipeline):
    save_state(folder / "dmd2_sdxl_4step_unet_fp16.bin", pipeline.unet)


def write_dmd2_lora(folder, pipeline):
    save_kohya(folder / "dmd2_sdxl_4step_lora_fp16.safetensors", halves(pipeline.unet, DMD2, 16), 8.0)


def write_hyper_sdxl(folder, pipeline):
    save_kohya(folder / "Hyper-SDXL-4steps-lora.safetensors", halves(pipeline.unet, DMD2, 4), 4.0)


def write_flash_sdxl(folder, pipeline):
    save_peft(folder / "pytorch_lora_weights.safetensors", halves(pipeline.unet, ATTENTION, 4), "unet")


# ---- and how its README or card loads it and sets the scheduler; returns the settings of the call

def call_official(pipeline, folder):
    pipeline.transformer.load_state_dict(torch.load(folder / "DPDMD-SD35M-4NFE-natural.pt", weights_only=True))
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
    pipeline.transformer = PeftModel.from_pretrained(pipeline.transformer, folder).merge_and_unload()
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
    pipeline.scheduler = DDIMScheduler.from_config(pipeline.scheduler.config, timestep_spacing="trailing", set_alpha_to_one=False,
                                                   clip_sample=False)  # both as in SDXL's own scheduler_config.json
    return {"guidance_scale": 0}


def call_flash_sdxl(pipeline, folder):
    pipeline.load_lora_weights(folder)
    pipeline.fuse_lora()
    lcm(pipeline, timestep_spacing="trailing")
    return {"guidance_scale": 0}


class CPSScheduler(FlowMatchEulerDiscreteScheduler):
    """The step of rtdmd/schedulers/cps_scheduler.py at eta 0.9, on sigmas that are shifted already."""

    def set_timesteps(self, sigmas=None, device=None, **_):
        self.sigmas = torch.tensor([*sigmas, 0.0])
        self.timesteps, self._step_index = self.sigmas[:-1] * 1000, 0

    def step(self, output, timestep, sample, return_dict=False):
        now, after = self.sigmas[self._step_index : self._step_index + 2]
        self._step_index += 1
        clean, noise, angle = sample - now * output, sample + (1 - now) * output, 0.9 * math.pi / 2
        return ((1 - after) * clean + after * (math.cos(angle) * noise + math.sin(angle) * FRESH(self._step_index)),)


FRESH = seeds.grid_renoise((4, 8, 8), SEEDS)  # the fresh noise of every scheduler, by the number of the step

CASES = {"dp-dmd-official": (write_official, call_official), "rtdmd-sd35": (write_rtdmd, call_rtdmd),
         "hyper-sd3": (write_hyper_sd3, call_hyper_sd3), "flash-sd3": (write_flash_sd3, call_flash_sd3),
         "tdm-sd3": (write_tdm, call_tdm), "dmd2-sdxl": (write_dmd2, call_dmd2),
         "dmd2-sdxl-lora": (write_dmd2_lora, call_dmd2_lora),
         "hyper-sdxl": (write_hyper_sdxl, call_hyper_sdxl), "flash-sdxl": (write_flash_sdxl, call_flash_sdxl)}


@pytest.fixture
def hub(tmp_path, monkeypatch):
    """Puts an entry's look-alike files where a download leaves the real ones; nothing is fetched."""
    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path))

    def put(name, write=None):
        repo = tmp_path / f"models--{PUBLISHED[name].repo.replace('/', '--')}"
        folder = repo / "snapshots" / ("0123456789" * 4)
        (repo / "refs").mkdir(parents=True)
        folder.mkdir(parents=True)
        (repo / "refs" / "main").write_text(folder.name)
        (write or CASES[name][0])(folder, tiny(PUBLISHED[name].teacher))
        return folder

    return put


@pytest.mark.parametrize("name", PUBLISHED)
def test_a_student_makes_the_latents_that_diffusers_makes_the_published_way(name, hub, monkeypatch):
    folder, entry = hub(name), PUBLISHED[name]
    pipeline, backend = tiny(entry.teacher), backend_of(entry.teacher)
    settings = {"num_inference_steps": 4, "guidance_scale": 1.0} | CASES[name][1](pipeline, folder)
    if entry.teacher != SDXL:
        settings["max_sequence_length"] = 0  # a tiny pipeline has no T5
    for scheduler in ("lcm", "flow_match_euler_discrete"):
        step = iter(range(1, 9))
        monkeypatch.setattr(f"diffusers.schedulers.scheduling_{scheduler}.randn_tensor", lambda *_, step=step, **__: FRESH(next(step)))
    noise, condition = seeds.grid_noise(backend.latent_shape, SEEDS), backend.encode(PROMPTS)
    theirs = pipeline(PROMPTS, latents=noise.clone(), output_type="latent", height=16, width=16, **settings).images

    plain = teacher_model(backend, 4, 2.0).sampled(noise, condition, SEEDS)
    model = open_model(name, backend)
    ours = model.sampled(noise, condition, SEEDS)
    error = (ours - theirs).abs().max() / theirs.abs().max()
    print(f"{name}: largest difference {error:.1e} of the largest latent")
    assert error < 3e-5
    assert model.evaluations == (8 if entry.guidance != 1 else 4) and model.info["licence"] == entry.licence
    without = dataclasses.replace(model, denoiser=backend.denoiser(backend.network)).sampled(noise, condition, SEEDS)
    assert (ours - without).abs().max() > 0.01 * theirs.abs().max()  # the weights matter
    assert torch.equal(teacher_model(backend, 4, 2.0).sampled(noise, condition, SEEDS), plain)  # and the teacher is as it was


def test_every_entry_has_a_golden_test_and_belongs_to_its_teacher():
    assert CASES.keys() == PUBLISHED.keys()
    assert list(published_of(SDXL)) == ["dmd2-sdxl", "dmd2-sdxl-lora", "hyper-sdxl", "flash-sdxl"]
    assert list(published_of("/models/stable-diffusion-3.5-medium")) == ["dp-dmd-official", "rtdmd-sd35"]
    assert not published_of("scenes")


def test_several_students_share_one_base_with_our_own_adapters(hub):
    """In any order: ours on attention, theirs on convolutions too; each stays what it is alone."""
    for name in ("hyper-sdxl", "flash-sdxl"):
        hub(name)
    noise = seeds.grid_noise((4, 8, 8), SEEDS)

    def alone(name):
        backend = backend_of(SDXL)
        return open_model(name, backend).sampled(noise, backend.encode(PROMPTS), SEEDS)

    backend = backend_of(SDXL)
    size, condition = sum(p.numel() for p in backend.network.parameters()), backend.encode(PROMPTS)
    before, ours = backend.new_network(lora=2), open_model("hyper-sdxl", backend)
    after, other = backend.new_network(lora=2), open_model("flash-sdxl", backend)
    for model, name in ((ours, "hyper-sdxl"), (other, "flash-sdxl")):
        torch.testing.assert_close(model.sampled(noise, condition, SEEDS), alone(name), rtol=0, atol=1e-5)
        assert not any(p.requires_grad for p in model.denoiser.network.parameters())
    assert set(before.weights) == set(after.weights) and len(ours.denoiser.network.weights) > len(other.denoiser.network.weights)
    assert open_model("hyper-sdxl", backend).denoiser.network is ours.denoiser.network
    adapters = [before, after, ours.denoiser.network, other.denoiser.network]
    assert sum(p.numel() for p in backend.network.parameters()) == size + sum(p.numel() for a in adapters for p in a.parameters())
    assert list(backend.new_network().state_dict()) == list(tiny(SDXL).unet.state_dict())


@pytest.mark.parametrize("name", ["dmd2-sdxl", "dmd2-sdxl-lora"])
def test_a_teacher_in_half_precision_takes_them_too(name, hub):
    hub(name)
    backend = SDXLBackend(tiny(SDXL).to(torch.bfloat16))
    model, noise, condition = open_model(name, backend), seeds.grid_noise((4, 8, 8), SEEDS), backend.encode(PROMPTS)
    assert model.denoiser.network.dtype == torch.bfloat16
    exact = backend_of(SDXL)
    full = open_model(name, exact).sampled(noise, exact.encode(PROMPTS), SEEDS)
    assert (model.sampled(noise, condition, SEEDS) - full).abs().mean() < 0.05 * full.abs().mean()


def refused(name, backend, words):
    before = list(backend.network.state_dict())
    with pytest.raises(PublishedError, match=words):
        load_published(PUBLISHED[name], backend)
    assert list(backend.network.state_dict()) == before


@pytest.mark.parametrize("teacher", [SD3, SD35, SDXL])
def test_another_teacher_is_refused_before_anything_is_fetched(teacher):
    backend = backend_of(teacher)
    for name, entry in PUBLISHED.items():
        other = f"is a student of {entry.teacher}, and another teacher is open"
        refused(name, backend, "not in the hub cache" if entry.teacher == teacher else other)


@pytest.mark.parametrize("name", ["dp-dmd-official", "hyper-sd3", "flash-sd3"])
def test_weights_of_another_architecture_are_refused(name, hub):
    """A teacher of that kind, but of one layer where the student has two."""
    hub(name)
    kinds = {SD3: {"qk_norm": None}, SD35: {"dual_attention_layers": (0,)}}
    backend = SD3Backend(tiny_pipeline(num_layers=1, **kinds[PUBLISHED[name].teacher]))
    refused(name, backend, f"does not fit the teacher that is open.*made for {PUBLISHED[name].teacher}")


def test_half_a_lora_or_none_is_refused(hub):
    def half(folder, pipeline):
        path = folder / "Hyper-SD3-4steps-CFG-lora.safetensors"
        layers = halves(pipeline.transformer, MMDIT, 4)
        save_file({f"transformer.{name}.lora_A.weight": a for name, (a, _) in layers.items()}, path)

    hub("hyper-sd3", half)
    refused("hyper-sd3", backend_of(SD3), "or not its other half")
    hub("tdm-sd3", lambda folder, _: save_file({}, folder / "empty.safetensors"))
    refused("tdm-sd3", backend_of(SD3), "holds no LoRA weights")


def test_files_that_are_damaged_or_hold_more_than_tensors(hub):
    def code(folder, _):
        torch.save({"weight": print}, folder / "DPDMD-SD35M-4NFE-natural.pt")

    def wrapped(folder, pipeline):
        torch.save({"decay": 0.9, "weights": [torch.zeros(2)]}, folder / "dmd2_sdxl_4step_unet_fp16.bin")

    def broken(folder, _):
        (folder / "adapter_model.safetensors").write_bytes(b"half")

    hub("dp-dmd-official", code)
    hub("dmd2-sdxl", wrapped)
    hub("flash-sd3", broken)
    refused("dp-dmd-official", backend_of(SD35), "holds more than tensors")
    refused("dmd2-sdxl", backend_of(SDXL), "no state dict of names and tensors")
    refused("flash-sd3", backend_of(SD3), "is damaged")


def test_a_repository_with_two_files_where_one_is_expected(hub):
    def two(folder, pipeline):
        write_tdm(folder, pipeline)
        (folder / "other.safetensors").write_bytes(b"")

    hub("tdm-sd3", two)
    refused("tdm-sd3", backend_of(SD3), "should hold one file of weights, and holds .*other.safetensors")


@pytest.mark.parametrize("error, words", [
    (errors.GatedRepoError("no", response=response(403)), "tianweiy/DMD2 is gated: accept its licence"),
    (errors.RepositoryNotFoundError("no", response=response(404)), "has no model tianweiy/DMD2, or it is private"),
    (errors.LocalEntryNotFoundError("no"), "cannot be reached: connect.*hf download tianweiy/DMD2"),
    (errors.RemoteEntryNotFoundError("no", response=response(404)), "no longer holds dmd2_sdxl_4step_unet_fp16.bin: look"),
])
def test_what_the_hub_may_answer(error, words, monkeypatch):
    def answer(*_, **__):
        raise error

    monkeypatch.setattr(published, "hf_hub_download", answer)
    refused("dmd2-sdxl", backend_of(SDXL), words)


def test_an_unknown_name_is_answered_with_the_nearest():
    with pytest.raises(ValueError, match="no model and no folder called dmd2-sdlx; did you mean dmd2-sdxl"):
        open_model("dmd2-sdlx", backend_of(SDXL))
