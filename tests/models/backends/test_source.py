"""Opening teachers: each thing that can be wrong has its own message with the way out."""

import json
import shutil
import subprocess
import sys

import pytest
import torch
from diffusers import StableDiffusion3Pipeline
from huggingface_hub import errors

from tests.support.hub import response
from tests.support.pipelines import tiny_pipeline, tiny_sdxl_pipeline
from workbench.models.backends import source
from workbench.models.backends.networks import trainable_copy
from workbench.models.backends.sd3 import SD3Backend
from workbench.models.backends.sdxl import SDXLBackend
from workbench.models.backends.source import (
    FAMILIES,
    T5_PARTS,
    Family,
    TeacherError,
    open_teacher,
)


@pytest.mark.parametrize(
    ("new", "kind"), [(tiny_pipeline, SD3Backend), (tiny_sdxl_pipeline, SDXLBackend)]
)
def test_a_folder_opens_as_the_family_it_says(new, kind, tmp_path):
    pipeline = new()
    pipeline.save_pretrained(tmp_path)
    backend = open_teacher(tmp_path)
    assert isinstance(backend, kind)
    prompts = ["a red circle"]
    for name, tensor in kind(pipeline).encode(prompts).tensors.items():
        assert torch.equal(backend.encode(prompts).tensors[name], tensor)


def test_a_resolution_and_tiled_decoding(tmp_path):
    tiny_pipeline().save_pretrained(tmp_path)
    whole, tiled = open_teacher(tmp_path), open_teacher(tmp_path, tiling=True)
    latents = torch.randn(1, *whole.latent_shape)  # also at the VAE's own size
    assert open_teacher(tmp_path, resolution=32).latent_shape == (4, 16, 16)
    assert tiled.pixels(latents).shape == whole.pixels(latents).shape
    assert not torch.equal(tiled.pixels(latents), whole.pixels(latents))
    with pytest.raises(TeacherError, match="resolution 64 is more than the 32 pixels"):
        open_teacher(tmp_path, resolution=64)


@pytest.mark.parametrize(
    "new", [lambda: tiny_pipeline().transformer, lambda: tiny_sdxl_pipeline().unet]
)
def test_a_copy_to_train_is_made_where_its_network_is(new):
    copy = trainable_copy(new().to("meta", torch.bfloat16))
    assert {(p.device.type, p.dtype) for p in copy.parameters()} == {("meta", torch.float32)}


@pytest.mark.parametrize(
    ("new", "kind"), [(tiny_pipeline, SD3Backend), (tiny_sdxl_pipeline, SDXLBackend)]
)
def test_resting_text_encoders_encode_the_same_and_are_put_back(new, kind):
    plain, lean = kind(new()), kind(new(), rest=True)
    assert not plain.resting
    assert len(lean.resting) == 2
    put_back = []
    for hook in lean.resting:
        hook.offload = lambda offload=hook.offload: (put_back.append(1), offload())
    for prompts in (["a red circle"], ["", "two stars"]):
        expected, got = plain.encode(prompts).tensors, lean.encode(prompts).tensors
        assert all(torch.equal(got[name], expected[name]) for name in expected)
    assert len(put_back) == 4


def refused(path, words):
    with pytest.raises(TeacherError, match=words):
        open_teacher(path)


def test_files_that_are_no_teacher(tmp_path):
    refused(tmp_path / "nothing", "there is no folder")
    refused(tmp_path, "holds no diffusers pipeline")
    (tmp_path / "sd_xl_base_1.0.safetensors").write_bytes(b"")
    refused(tmp_path / "sd_xl_base_1.0.safetensors", "single file.*from_single_file")
    (tmp_path / "model_index.json").write_text('{"_class_name": "FluxPipeline"}')
    refused(
        tmp_path,
        "is a FluxPipeline; a teacher is one of StableDiffusion3Pipeline, "
        "StableDiffusionXLPipeline",
    )
    (tmp_path / "model_index.json").write_text('{"_class_')
    refused(tmp_path, "not readable JSON.*again")


def test_weights_from_before_safetensors_and_missing_parts(tmp_path):
    tiny_pipeline().save_pretrained(tmp_path, safe_serialization=False)
    refused(tmp_path, "save it again with save_pretrained")
    tiny_sdxl_pipeline().save_pretrained(tmp_path)
    (tmp_path / "unet" / "config.json").unlink()
    refused(tmp_path, "has a part that cannot be loaded")


@pytest.mark.parametrize(
    ("error", "words"),
    [
        (
            errors.GatedRepoError("no", response=response(403)),
            "gated: accept its licence at https://huggingface.co/some/teacher.*HF_TOKEN",
        ),
        (
            errors.RepositoryNotFoundError("no", response=response(404)),
            "has no model some/teacher, or it is private",
        ),
        (errors.LocalEntryNotFoundError("no"), "cannot be reached: connect"),
        (errors.OfflineModeIsEnabled("no"), "unset HF_HUB_OFFLINE"),
        (
            errors.RemoteEntryNotFoundError("no", response=response(404)),
            "on the hub but holds no diffusers pipeline",
        ),
        (
            errors.HfHubHTTPError("too many requests", response=response(429)),
            "did not give some/teacher: too many requests",
        ),
    ],
)
def test_what_the_hub_may_answer(error, words, monkeypatch):
    def answer(*_, **__):
        raise error

    monkeypatch.setattr(source, "hf_hub_download", answer)
    refused("some/teacher", words)


def test_offline_the_real_library_says_offline():
    refused("stabilityai/stable-diffusion-3.5-medium", "neither a folder here nor in the hub cache")


def test_a_pipeline_of_the_hub_is_loaded_from_its_cache(tmp_path, monkeypatch):
    """The cache's own layout, as a download leaves it; nothing is fetched."""
    from huggingface_hub import constants

    snapshot = (
        tmp_path
        / "models--some--teacher"
        / "snapshots"
        / "0123456789abcdef0123456789abcdef01234567"
    )
    tiny_pipeline().save_pretrained(snapshot)
    refs = tmp_path / "models--some--teacher" / "refs"
    refs.mkdir()
    (refs / "main").write_text(snapshot.name)
    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path))
    monkeypatch.setattr(
        "diffusers.pipelines.pipeline_utils.HF_HUB_CACHE", str(tmp_path), raising=False
    )
    assert (
        json.loads((snapshot / "model_index.json").read_text())["_class_name"]
        == "StableDiffusion3Pipeline"
    )
    assert isinstance(open_teacher("some/teacher"), SD3Backend)


def test_importing_the_source_imports_no_pipeline_class():
    code = (
        "import sys, workbench.models.backends.source, workbench.models.students; "
        "print([m for m in sys.modules if m.startswith('diffusers.pipelines.stable')])"
    )
    result = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True
    )
    assert result.stdout.strip() == "[]"


def test_a_family_of_ones_own_is_one_line(teacher_folder, tmp_path, monkeypatch):
    class Mine(SD3Backend):
        pass

    folder = tmp_path / "mine"
    shutil.copytree(teacher_folder, folder)
    index = json.loads((folder / "model_index.json").read_text())
    (folder / "model_index.json").write_text(json.dumps(index | {"_class_name": "MyPipeline"}))
    with pytest.raises(TeacherError, match="is a MyPipeline; a teacher is one of"):
        open_teacher(folder)
    monkeypatch.setattr(FAMILIES, "_entries", dict(FAMILIES._entries))
    FAMILIES.register(
        "MyPipeline", Family(lambda: (StableDiffusion3Pipeline, Mine), optional=T5_PARTS)
    )
    assert type(open_teacher(folder)) is Mine
