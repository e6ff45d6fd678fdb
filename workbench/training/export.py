"""A run's student in a form that others load: a diffusers pipeline, or a LoRA file, with its
few-step times and a model card.

    folder/                     a full student: an ordinary pipeline, its teacher's with the
                                student as the network
    folder/pytorch_lora_weights.safetensors
                                an adapter: for `load_lora_weights` on the teacher
    folder/README.md            model card: how to sample, recipe, metrics, licence of the base
    folder/student.json         as in the run; with the rank if an adapter was extracted from a
                                full student, or from one of a higher rank

A flow student is sampled at explicit `sigmas`, because diffusers' own grid for few steps is
different (see `workbench.core.schedules`). The times of an eps student are those of its scheduler
with `timestep_spacing="trailing"`, or of the LCM scheduler if it re-noises.
"""

from __future__ import annotations

import json
import re
import shutil
import string
from pathlib import Path

import torch
from diffusers import EulerDiscreteScheduler, FlowMatchEulerDiscreteScheduler, LCMScheduler
from safetensors.torch import save_file

from workbench.core.methods import method_title
from workbench.io.files import FolderError
from workbench.io.strict_json import to_json
from workbench.models.backends.lora import LORA_FILE, extracted
from workbench.models.backends.pipeline import PipelineBackend
from workbench.models.backends.sdxl import SDXLBackend
from workbench.models.embedded import EMBEDDED
from workbench.models.loading import load_backend
from workbench.models.model import Model
from workbench.models.students import STUDENT_FILE, load_student, recipe_of_student
from workbench.training.run import Run

CARD = Path(__file__).with_name("model_card.md")


def export_student(run: Path, folder: Path, lora: int = 0, device: str = "cpu") -> Path:
    """Writes the student of a run (or a student's folder) to `folder` and returns the folder; a
    full student as a pipeline, or as the nearest adapter of rank `lora`; an adapter as it is, or as
    the nearest one of a lower rank. Raises `FolderError` if `folder` is not empty, or if there is
    no student, and ValueError for a rank above that of an adapter.
    """
    source = run / "student" if (run / "student").is_dir() else run
    if lora < 0:
        raise ValueError(f"a rank is 1 or more, not {lora}")
    if folder.exists() and any(folder.iterdir()):
        raise FolderError(f"{folder} is not empty; choose another folder")
    recipe = recipe_of_student(source)
    if recipe is None:
        raise FolderError(f"{run} holds no student; train it first, or give a run folder")
    adapter = (source / LORA_FILE).is_file()
    if adapter and lora > recipe.lora:
        raise ValueError(
            f"the student is an adapter of rank {recipe.lora}, which no higher rank adds to: leave "
            f"--lora {lora} out, or take a lower one"
        )
    backend = load_backend(recipe.teacher, device)
    model, as_it_is = load_student(source, backend), adapter and lora in (0, recipe.lora)
    scheduler = few_step_scheduler(model, backend)
    card = model_card(
        model, backend, type(scheduler).__name__, adapter or lora > 0, _last_reading(run)
    )
    folder.mkdir(parents=True, exist_ok=True)
    if adapter or lora:
        if as_it_is:
            shutil.copy(source / LORA_FILE, folder / LORA_FILE)
        else:
            save_file(
                extracted(model.denoiser.network, backend.network, lora),
                folder / LORA_FILE,
                metadata={"format": "pt"},
            )
        scheduler.save_pretrained(folder / "scheduler")
    else:
        part = "unet" if isinstance(backend, SDXLBackend) else "transformer"
        pipeline = backend.pipeline
        pipeline.register_modules(**{part: model.denoiser.network, "scheduler": scheduler})
        pipeline.to(torch.float16).save_pretrained(folder)
    info = json.loads((source / STUDENT_FILE).read_text())
    info |= {"extracted_rank": lora} if lora and not as_it_is else {}
    (folder / STUDENT_FILE).write_text(to_json(info, indent=1))
    (folder / "README.md").write_text(card)
    return folder


def few_step_scheduler(model: Model, backend: PipelineBackend):
    """The diffusers scheduler that walks the student's times (a flow's are given as `sigmas` at
    the call). Raises `FolderError` if diffusers has none.
    """
    config, steps = backend.pipeline.scheduler.config, len(model.times) - 1
    renoises = model.sampler == "renoise"
    if not isinstance(backend, SDXLBackend):
        return FlowMatchEulerDiscreteScheduler.from_config(config, stochastic_sampling=renoises)
    if renoises:
        candidates = [LCMScheduler.from_config(config, original_inference_steps=steps)]
    else:
        candidates = [
            EulerDiscreteScheduler.from_config(config, timestep_spacing=spacing)
            for spacing in ("trailing", "leading")
        ]
    wanted = model.times[:-1] * backend.schedule.levels - 1
    for scheduler in candidates:
        scheduler.set_timesteps(steps)
        if torch.allclose(scheduler.timesteps.float(), wanted, rtol=0, atol=0.5):
            return scheduler
    raise FolderError(
        f"no diffusers scheduler walks this student's times {wanted.tolist()}; sample it with "
        "`python -m workbench sample`"
    )


def sampling_call(model: Model, backend: PipelineBackend) -> str:
    """The arguments of a diffusers pipeline that sample the student as it was trained."""
    steps = f"num_inference_steps={len(model.times) - 1}, guidance_scale=1.0"
    if model.info.recipe and (side := model.info.recipe.resolution):
        steps += f", height={side}, width={side}"
    if isinstance(backend, SDXLBackend):
        return steps
    shift = backend.schedule.shift  # diffusers shifts the sigmas it is given
    sigmas = [round(t / (shift - (shift - 1) * t), 6) for t in model.times[:-1].double().tolist()]
    empty = "" if backend.empty_tokens else ", max_sequence_length=0"
    return f"{steps}, sigmas={sigmas}{empty}"


def model_card(
    model: Model, backend: PipelineBackend, scheduler: str, adapter: bool, reading: dict | None
) -> str:
    """Markdown, from model_card.md: how to sample the student with diffusers alone, its recipe, and
    the last `reading` of its run.
    """
    recipe = model.info.recipe.to_dict()
    embedded, kind = recipe["teacher"] in EMBEDDED, type(backend.pipeline).__name__
    measured = (
        f"\n## Measured\n\nDiversity (Eq. 9) on {reading['feature']} over the run's own panel: "
        f"{reading['diversity']:.3f} at round {reading['round']}.\n"
        if reading
        else ""
    )
    return string.Template(CARD.read_text(encoding="utf-8")).substitute(
        method=method_title(model.info.method),
        base=f"the embedded teacher {recipe['teacher']}" if embedded else recipe["teacher"],
        evaluations=len(model.times) - 1,
        rounds=model.info.rounds,
        licence="that of this project" if embedded else "that of the base model",
        imports=f"{kind}, {scheduler}" if adapter else kind,
        load=_loading_code(backend, kind, scheduler, adapter),
        sampling=sampling_call(model, backend),
        measured=measured,
        digest=model.info.digest,
        settings="\n".join(f"| {name} | {value} |" for name, value in recipe.items()),
    )


def _loading_code(backend: PipelineBackend, kind: str, scheduler: str, adapter: bool) -> str:
    """Python that loads the exported FOLDER as `pipeline`; an adapter onto its TEACHER."""
    precision = "torch.bfloat16" if backend.network.dtype == torch.bfloat16 else "torch.float32"
    options = f", dtype={precision}"
    if getattr(backend.pipeline, "text_encoder_3", True) is None:
        options = f", text_encoder_3=None, tokenizer_3=None{options}"
    if not adapter:
        return f'pipeline = {kind}.from_pretrained("FOLDER"{options})'
    return (
        f"pipeline = {kind}.from_pretrained(TEACHER{options})\n"
        'pipeline.load_lora_weights("FOLDER")\n'
        f'pipeline.scheduler = {scheduler}.from_pretrained("FOLDER/scheduler")'
    )


def card_code(folder: Path, teacher: str) -> str:
    """The Python code of an exported student's model card, with the folder and its teacher filled
    in; it samples a PROMPT.
    """
    code = re.search(r"```python\n(.*?)```", (folder / "README.md").read_text(), re.S)[1]
    return code.replace("TEACHER", repr(teacher)).replace('"FOLDER', f'"{folder.as_posix()}')


def _last_reading(run: Path) -> dict | None:
    rows = Run.open(run).metrics() if (run / "manifest.json").is_file() else []
    return next((row for row in reversed(rows) if row["kind"] == "reading"), None)
