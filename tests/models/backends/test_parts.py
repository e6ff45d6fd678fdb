"""What a teacher is made of: every ingredient of every part changes the digest of that part alone,
and nothing else does.
"""

import json
import os
import shutil

import pytest
import torch
from safetensors.torch import load_file, save_file

from tests.support.pipelines import tiny_pipeline, tiny_sdxl_pipeline
from workbench.models.backends.parts import (
    changed_parts,
    checksum,
    folder_parts,
    memory_parts,
    part_files,
    part_names,
    weight_variant,
)
from workbench.models.backends.sd3 import SD3Backend
from workbench.models.backends.source import T5_PARTS, TeacherError, open_teacher
from workbench.models.embedded import EMBEDDED, load_scenes


@pytest.fixture(scope="module", params=[tiny_pipeline, tiny_sdxl_pipeline])
def saved(request, tmp_path_factory):
    folder = tmp_path_factory.mktemp("parts") / "teacher"
    request.param().save_pretrained(folder)
    return folder


@pytest.fixture
def folder(saved, tmp_path):
    return shutil.copytree(saved, tmp_path / "copy")


def names(folder) -> list[str]:
    return part_names(json.loads((folder / "model_index.json").read_text()))


def bump(path) -> None:
    """Changes one ingredient in the middle of a file."""
    if path.suffix == ".safetensors":
        tensors = load_file(path)
        largest = max(tensors, key=lambda name: tensors[name].numel())
        tensors[largest].view(-1)[tensors[largest].numel() // 2] += 1e-3
        save_file(tensors, path, metadata={"format": "pt"})
    elif path.suffix == ".json":
        values = json.loads(path.read_text())
        name = next(name for name in sorted(values) if not name.startswith("_"))
        values[name] = "another value"
        path.write_text(json.dumps(values))
    else:
        path.write_text(path.read_text() + "x")


def test_every_file_of_every_part_counts_for_that_part(folder):
    before, seen = folder_parts(folder), 0
    for name in names(folder):
        for path in part_files(folder / name):
            content = path.read_bytes()
            bump(path)
            assert changed_parts(before, folder_parts(folder)) == [name], path
            path.write_bytes(content)
            seen += 1
    assert seen >= 2 * len(before) - 3
    assert folder_parts(folder) == before


def test_what_is_of_no_effect_does_not_count(folder):
    before = folder_parts(folder)
    for path in folder.glob("*/*config.json"):
        values = json.loads(path.read_text()) | {"_diffusers_version": "9.9", "_name_or_path": "x"}
        path.write_text(json.dumps(dict(reversed(list(values.items()))), indent=7))
    for path in folder.rglob("*"):
        os.utime(path)
    (folder / "vae" / ".DS_Store").write_text("left by a file system")
    (folder / "vae" / "README.md").write_text("notes")
    (folder / "notes").mkdir()
    assert folder_parts(folder) == before
    assert folder_parts(shutil.copytree(folder, folder.parent / "elsewhere")) == before


def test_a_part_that_is_left_out_is_no_part():
    folder = EMBEDDED["scenes"] / "teacher"
    whole, short = folder_parts(folder), folder_parts(folder, T5_PARTS)
    assert changed_parts(whole, short) == ["pipeline", "text_encoder_3", "tokenizer_3"]
    assert load_scenes(folder).parts == short


def test_a_pipeline_in_memory_is_what_its_folder_would_be(tmp_path):
    for number, pipeline in enumerate((tiny_pipeline(), tiny_sdxl_pipeline())):
        pipeline.save_pretrained(tmp_path / str(number))
        assert memory_parts(pipeline) == folder_parts(tmp_path / str(number))


@pytest.mark.parametrize("part", ["network", "text_encoder", "text_encoder_2", "vae"])
def test_a_change_in_memory_is_seen(saved, part):
    """Also one that writes past torch's counters, as textual inversion does."""
    if part == "network":
        part = "unet" if (saved / "unet").is_dir() else "transformer"
    backend = open_teacher(saved)
    before = backend.parts
    backend.new_network(lora=2)
    assert backend.parts == before == folder_parts(saved)
    network = getattr(backend.pipeline, part)
    weights = next(parameter for parameter in network.parameters() if parameter.ndim in (2, 4))
    weights.data[[1, 2]] = weights.data[[2, 1]]  # their sum stays
    assert changed_parts(before, backend.parts) == [part]
    weights.data[[1, 2]] = weights.data[[2, 1]]
    assert checksum(network) == checksum(getattr(open_teacher(saved).pipeline, part))


def test_weights_with_a_variant_s_name_are_loaded_and_several_are_refused(saved, tmp_path):
    folder = shutil.copytree(saved, tmp_path / "half")
    for path in list(folder.rglob("*.safetensors")):
        path.rename(path.with_name(path.name.replace(".safetensors", ".fp16.safetensors")))
    assert weight_variant(folder) == "fp16"
    assert torch.equal(*(next(open_teacher(one).network.parameters()) for one in (saved, folder)))
    vae = next((folder / "vae").glob("*.safetensors"))
    vae.rename(vae.with_name(vae.name.replace("fp16", "bf16")))
    with pytest.raises(TeacherError, match=r"several variants \(bf16, fp16\)"):
        open_teacher(folder)


def test_a_part_without_a_folder_is_named_with_the_way_out(tmp_path):
    folder = shutil.copytree(EMBEDDED["scenes"] / "teacher", tmp_path / "no3")
    shutil.rmtree(folder / "text_encoder_3")
    way_out = r"lacks text_encoder_3/, .*or leave it out: write \[null, null\] for text_encoder_3"
    with pytest.raises(TeacherError, match=way_out):
        open_teacher(folder)
    index = json.loads((folder / "model_index.json").read_text())
    index |= {name: [None, None] for name in T5_PARTS}
    (folder / "model_index.json").write_text(json.dumps(index))
    assert "text_encoder_3" not in open_teacher(folder).parts
    shutil.rmtree(folder / "vae")
    with pytest.raises(TeacherError, match=r"lacks vae/.*cannot do without"):
        open_teacher(folder)


def test_a_tokenizer_is_the_same_after_its_use():
    pipeline = tiny_pipeline()
    before = memory_parts(pipeline)
    SD3Backend(pipeline).encode(["a star", ""])
    assert memory_parts(pipeline) == before


def test_backends_of_equal_weights_are_equal():
    assert SD3Backend(tiny_pipeline()).parts == SD3Backend(tiny_pipeline()).parts
