"""The command that makes the embedded teacher, at a size where it learns nothing: it resumes, and what it saves can be loaded."""

import json

import torch
from diffusers import StableDiffusion3Pipeline

from workbench.scenes.make_teacher import make_teacher
from workbench.scenes.teacher_recipe import TeacherRecipe

TINY = dict(autoencoder_steps=2, autoencoder_batch=4, scenes=256, batch=8, long_text_every=2)


def rows(folder):
    return {row["step"]: row for row in map(json.loads, (folder / "work" / "transformer.jsonl").read_text().splitlines())}


def test_it_resumes_with_more_steps_and_saves_a_plain_pipeline(tmp_path):
    teacher = make_teacher(tmp_path, TeacherRecipe(steps=2, **TINY))
    before = {name: torch.load(tmp_path / "work" / name) for name in ("autoencoder.pt", "transformer.pt")}
    assert make_teacher(tmp_path, TeacherRecipe(steps=3, **TINY)) == teacher
    after = {name: torch.load(tmp_path / "work" / name) for name in before}
    assert (before["transformer.pt"]["step"], after["transformer.pt"]["step"]) == (2, 3)
    same = [torch.equal(before["autoencoder.pt"]["model"][name], tensor) for name, tensor in after["autoencoder.pt"]["model"].items()]
    assert all(same)
    moved = [not torch.equal(before["transformer.pt"]["average"][name], tensor)
             for name, tensor in after["transformer.pt"]["average"].items() if tensor.is_floating_point()]
    assert sum(moved) > 0.8 * len(moved)  # position tables do not, nor what starts at zero behind zeros

    assert json.loads((teacher / "recipe.json").read_text())["steps"] == 3
    pipeline = StableDiffusion3Pipeline.from_pretrained(teacher, text_encoder_3=None, tokenizer_3=None, dtype=torch.float32,
                                                        local_files_only=True)
    assert all(tensor.isfinite().all() for tensor in pipeline.transformer.state_dict().values())
    assert not any(str(tmp_path) in path.read_text() for path in teacher.rglob("*.json"))
