"""Published students: look-alike files with the published names, against diffusers loading and
sampling them the published way.
"""

import dataclasses

import pytest
import torch
from huggingface_hub import constants, errors
from safetensors.torch import save_file

from tests.support.hub import cached, response
from tests.support.lookalikes import (
    CASES,
    FRESH,
    MMDIT,
    PROMPTS,
    SEEDS,
    backend_of,
    halves,
    tiny,
    write_tdm,
)
from tests.support.pipelines import tiny_pipeline
from workbench.core import seeds
from workbench.core.presets import SD3, SD35, SDXL
from workbench.models import published
from workbench.models.backends.sd3 import SD3Backend
from workbench.models.backends.sdxl import SDXLBackend
from workbench.models.model import teacher_model
from workbench.models.published import PUBLISHED, PublishedError, load_published, published_of
from workbench.models.students import open_model


@pytest.fixture
def hub(tmp_path, monkeypatch):
    """Puts an entry's look-alike files in the place of a download; nothing is fetched."""
    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path))

    def put(name, write=None):
        folder = cached(tmp_path, PUBLISHED[name].repo)
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
        monkeypatch.setattr(
            f"diffusers.schedulers.scheduling_{scheduler}.randn_tensor",
            lambda *_, step=step, **__: FRESH(next(step)),
        )
    noise, condition = seeds.grid_noise(backend.latent_shape, SEEDS), backend.encode(PROMPTS)
    theirs = pipeline(
        PROMPTS, latents=noise.clone(), output_type="latent", height=16, width=16, **settings
    ).images

    plain = teacher_model(backend, 4, 2.0).sampled(noise, condition, SEEDS)
    model = open_model(name, backend)
    ours = model.sampled(noise, condition, SEEDS)
    error = (ours - theirs).abs().max() / theirs.abs().max()
    print(f"{name}: largest difference {error:.1e} of the largest latent")
    assert error < 3e-5
    assert model.evaluations == (8 if entry.guidance != 1 else 4)
    assert model.info.licence == entry.licence
    assert model.info.revision == "0123456789" * 4
    without = dataclasses.replace(model, denoiser=backend.denoiser(backend.network)).sampled(
        noise, condition, SEEDS
    )
    assert (ours - without).abs().max() > 0.01 * theirs.abs().max()  # the weights matter
    assert torch.equal(
        teacher_model(backend, 4, 2.0).sampled(noise, condition, SEEDS), plain
    )  # and the teacher is as it was


def test_every_entry_has_a_golden_test_and_belongs_to_its_teacher():
    assert CASES.keys() == PUBLISHED.keys()
    assert list(published_of(SDXL)) == ["dmd2-sdxl", "dmd2-sdxl-lora", "hyper-sdxl", "flash-sdxl"]
    assert list(published_of("/models/stable-diffusion-3.5-medium")) == [
        "dp-dmd-official",
        "rtdmd-sd35",
    ]
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
        torch.testing.assert_close(
            model.sampled(noise, condition, SEEDS), alone(name), rtol=0, atol=1e-5
        )
        assert not any(p.requires_grad for p in model.denoiser.network.parameters())
    assert set(before.weights) == set(after.weights)
    assert len(ours.denoiser.network.weights) > len(other.denoiser.network.weights)
    assert open_model("hyper-sdxl", backend).denoiser.network is ours.denoiser.network
    adapters = [before, after, ours.denoiser.network, other.denoiser.network]
    assert sum(p.numel() for p in backend.network.parameters()) == size + sum(
        p.numel() for a in adapters for p in a.parameters()
    )
    assert list(backend.new_network().state_dict()) == list(tiny(SDXL).unet.state_dict())


@pytest.mark.parametrize("name", ["dmd2-sdxl", "dmd2-sdxl-lora"])
def test_a_teacher_in_half_precision_takes_them_too(name, hub):
    hub(name)
    backend = SDXLBackend(tiny(SDXL).to(torch.bfloat16))
    model, noise, condition = (
        open_model(name, backend),
        seeds.grid_noise((4, 8, 8), SEEDS),
        backend.encode(PROMPTS),
    )
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
    refused(
        name, backend, f"does not fit the teacher that is open.*made for {PUBLISHED[name].teacher}"
    )


def test_half_a_lora_or_none_is_refused(hub):
    def half(folder, pipeline):
        path = folder / "Hyper-SD3-4steps-CFG-lora.safetensors"
        layers = halves(pipeline.transformer, MMDIT, 4)
        save_file({f"transformer.{name}.lora_A.weight": a for name, (a, _) in layers.items()}, path)

    hub("hyper-sd3", half)
    refused("hyper-sd3", backend_of(SD3), "or lacks its other half")
    hub("tdm-sd3", lambda folder, _: save_file({}, folder / "empty.safetensors"))
    refused("tdm-sd3", backend_of(SD3), "holds no LoRA weights")


def test_files_that_are_damaged_or_hold_more_than_tensors(hub):
    def code(folder, _):
        torch.save({"weight": print}, folder / "DPDMD-SD35M-4NFE-natural.pt")

    def wrapped(folder, pipeline):
        torch.save(
            {"decay": 0.9, "weights": [torch.zeros(2)]}, folder / "dmd2_sdxl_4step_unet_fp16.bin"
        )

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
    refused(
        "tdm-sd3", backend_of(SD3), "should hold one file of weights, and holds .*other.safetensors"
    )


@pytest.mark.parametrize(
    ("error", "words"),
    [
        (
            errors.GatedRepoError("no", response=response(403)),
            "tianweiy/DMD2 is gated: accept its licence",
        ),
        (
            errors.RepositoryNotFoundError("no", response=response(404)),
            "has no model tianweiy/DMD2, or it is private",
        ),
        (
            errors.LocalEntryNotFoundError("no"),
            "cannot be reached: connect.*hf download tianweiy/DMD2",
        ),
        (
            errors.RemoteEntryNotFoundError("no", response=response(404)),
            "no longer holds dmd2_sdxl_4step_unet_fp16.bin: see its files",
        ),
    ],
)
def test_what_the_hub_may_answer(error, words, monkeypatch):
    def answer(*_, **__):
        raise error

    monkeypatch.setattr(published, "hf_hub_download", answer)
    refused("dmd2-sdxl", backend_of(SDXL), words)


def test_an_unknown_name_is_answered_with_the_nearest():
    with pytest.raises(
        ValueError, match="no model and no folder called dmd2-sdlx; did you mean dmd2-sdxl"
    ):
        open_model("dmd2-sdlx", backend_of(SDXL))
