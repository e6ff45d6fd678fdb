"""Prompts are encoded once; a damaged shard is made again; training is the same without text
encoders.
"""

import dataclasses

import pytest
import torch

from tests.support.distilling import RECIPE
from tests.support.pipelines import tiny_pipeline, tiny_sdxl_pipeline
from workbench.core.distiller import Distiller
from workbench.core.objectives import dp_dmd
from workbench.models.backends import embedding_cache
from workbench.models.backends.embedding_cache import CachedBackend, encoder_digest
from workbench.models.backends.sd3 import SD3Backend
from workbench.models.backends.sdxl import SDXLBackend

PROMPTS = ["a red circle", "two stars", "a blue shape"]


def shards(folder):
    return sorted(folder.rglob("*.safetensors"))


@pytest.mark.parametrize(
    "new", [lambda: SD3Backend(tiny_pipeline()), lambda: SDXLBackend(tiny_sdxl_pipeline())]
)
def test_cached_embeddings_are_the_encoders_and_training_is_bit_identical_without_them(
    new, tmp_path, monkeypatch
):
    monkeypatch.setattr(embedding_cache, "SHARD", 2)
    plain, cached = new(), CachedBackend(new(), PROMPTS, tmp_path)
    assert len(shards(tmp_path)) == 2
    assert cached.pipeline.text_encoder is None
    asked = ["two stars", "", "a red circle", "two stars"]
    for name, tensor in plain.encode(asked).tensors.items():
        torch.testing.assert_close(cached.encode(asked).tensors[name], tensor, rtol=0, atol=1e-6)
    recipe = dataclasses.replace(RECIPE, rounds=1)
    first, second = (
        Distiller(recipe, backend, dp_dmd(0.05, 2, "denoised"), PROMPTS)
        for backend in (plain, cached)
    )
    for a, b in zip(first.rounds(), second.rounds()):
        assert a.losses == pytest.approx(b.losses, rel=1e-4)
    with pytest.raises(ValueError, match="not among the cached prompts"):
        cached.encode(["a dog"])


def test_nothing_is_encoded_twice(tmp_path):
    CachedBackend(SD3Backend(tiny_pipeline()), PROMPTS, tmp_path)
    again, calls = SD3Backend(tiny_pipeline()), []
    again.encode = lambda prompts: calls.append(prompts)
    CachedBackend(again, PROMPTS, tmp_path)
    assert calls == []


@pytest.mark.parametrize(
    "damage",
    [
        lambda path: path.write_bytes(path.read_bytes()[:-100]),
        lambda path: path.write_bytes(b"half"),
        lambda path: path.write_bytes(path.read_bytes()[:-4] + b"\xff\xfe\xfd\xfc"),
    ],
)
def test_a_damaged_shard_is_made_again(damage, tmp_path):
    expected = CachedBackend(SD3Backend(tiny_pipeline()), PROMPTS, tmp_path).encode(PROMPTS)
    (file,) = shards(tmp_path)
    damage(file)
    found = CachedBackend(SD3Backend(tiny_pipeline()), PROMPTS, tmp_path).encode(PROMPTS)
    assert all(
        torch.equal(found.tensors[name], tensor) for name, tensor in expected.tensors.items()
    )


def test_another_encoder_has_another_folder():
    one, other = SD3Backend(tiny_pipeline()), SD3Backend(tiny_pipeline())
    assert encoder_digest(one) == encoder_digest(other)
    next(other.pipeline.text_encoder_2.parameters()).data[0] += 1
    assert encoder_digest(one) != encoder_digest(other)
    last = SD3Backend(tiny_pipeline())
    last.pipeline.text_encoder_2.text_model.embeddings.token_embedding.weight.data[-1, -1] += (
        1e-6  # one value, far from the first
    )
    assert encoder_digest(SD3Backend(tiny_pipeline())) != encoder_digest(last)
    assert encoder_digest(SDXLBackend(tiny_sdxl_pipeline())) != encoder_digest(
        SDXLBackend(tiny_sdxl_pipeline(), resolution=32)
    )
