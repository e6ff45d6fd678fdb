# ---
# jupyter:
#   jupytext:
#     formats: ipynb,py:percent
#   kernelspec:
#     display_name: Python 3 (ipykernel)
#     language: python
#     name: python3
# ---

# %% [markdown]
# # 7. A real model, end to end
#
# From nothing to an exported DP-DMD student of SD3.5-Medium (or SDXL) on one GPU: requirements, training, comparison, measurement, export.
#
# You need a CUDA GPU with 24 GB, the licence of SD3.5-Medium accepted on its page, and a token (`hf auth login`). **If one of them is missing, this notebook says so in its
# second cell, and runs the same cells on the embedded teacher**, as a rehearsal: the code is the same.
#
# On a GPU it takes an evening (the planner says how long); the rehearsal takes a minute. It ends with an asserted number: the difference between the images of the exported and the trained student.

# %% tags=["parameters"]
import os

SHORT = "WORKBENCH_SHORT" in os.environ  # the settings of CI
TEACHER = "stabilityai/stable-diffusion-3.5-medium"  # or "stabilityai/stable-diffusion-xl-base-1.0", or a pipeline's folder
PROMPT_FILE = (
    ""  # one prompt per line; empty: the 200 that ship with the workbench, enough for a first look
)
GPU = "rtx4090"  # to plan for: rtx4090, l40s, a100, h100
ROUNDS = 1000
SETTINGS = dict(
    lora=64,
    student_rate=1e-4,
    fake_rate=1e-4,
    resolution=512,
    batch=4,
    accumulate=4,
    checkpointing=True,
    embeddings="runs/embeddings",
    tiling=True,
)
PROMPTS = (
    "a red fox in the snow",
    "a lighthouse at night",
    "three cups on a table",
)  # of the pictures
SEEDS = 4

# %%
from dataclasses import replace

from workbench.lab import begin
from workbench.lab.requirements import missing_requirements
from workbench.models.loading import best_device

device = best_device()
session = begin(0, device)
missing = missing_requirements(TEACHER)
if missing:
    print(f"{TEACHER} cannot be distilled here yet:")
    print(*(f"  - {reason}" for reason in missing), sep="\n")
    print(
        "Nothing is wrong. The plan below is for the real model; after it this is a rehearsal on the embedded teacher."
    )

# %% [markdown]
# ## The plan
#
# The recipe's needs, before any download: the network is built on the meta device, where tensors have shapes but no numbers, and one evaluation with its backward
# pass is metered. The README compares it with measurements.

# %%
from workbench.core.presets import recipe_of
from workbench.evaluation.prompt_lists import NEUTRAL
from workbench.training.plan.planner import plan
from workbench.training.plan.report import as_text

recipe = replace(
    recipe_of(TEACHER),
    teacher=TEACHER,
    rounds=ROUNDS,
    prompts=PROMPT_FILE or str(NEUTRAL),
    sample_every=100,
    checkpoint_every=50,
    **SETTINGS,
)
planned = plan(recipe)
print(as_text(planned, GPU, 0.4))

# %% [markdown]
# If it does not fit, change `SETTINGS` as the plan says. Whole networks instead of adapters (`lora=0`) take 80 GB, or 48 GB with every saving in the README's table.

# %%
teacher = TEACHER
if missing:
    teacher, PROMPTS = "scenes", ("a red circle", "a star", "two squares")
    recipe = replace(
        recipe_of(teacher),
        rounds=2 if SHORT else 20,
        batch=4 if SHORT else 32,
        lora=16,
        student_rate=2e-3,
        fake_rate=1e-3,
        sample_every=10,
        checkpoint_every=10,
    )
print(
    f"{teacher}: {recipe.rounds} rounds of {recipe.fake_updates_per_round} fake updates and a student update, {recipe.batch} samples each"
)

# %% [markdown]
# ## Training
#
# With the dashboard of notebook 2. Training continues in the background; a restarted kernel continues from the last checkpoint. For long runs use the command line instead,
# `python -m workbench resume FOLDER` on the same folder, and open the dashboard on it whenever you want to look.

# %%
from pathlib import Path

from workbench.lab.dashboard import Dashboard
from workbench.training.run import Run

run = Run.at(Path("runs") / f"07-{Path(teacher).name}-{recipe.digest}", recipe, device)
dashboard = Dashboard({"dp-dmd": run}, device)
dashboard.start()
dashboard

# %%
await dashboard.finished()
dashboard.figure()

# %% [markdown]
# ## Side by side
#
# Adapters share the teacher's network, so teacher and student fit on one GPU together.

# %%
from workbench.grid.request import GridRequest
from workbench.lab.pictures import as_output, seed_grid
from workbench.models.loading import load_backend
from workbench.models.model import teacher_model
from workbench.models.students import load_student

backend = load_backend(teacher, device, recipe.precision, recipe.resolution, recipe.tiling)
models = {
    "teacher": teacher_model(backend, recipe.teacher_steps, recipe.guidance),
    "dp-dmd": load_student(run.path / "student", backend, "dp-dmd"),
}
grid = seed_grid(
    GridRequest(PROMPTS, tuple(range(SEEDS)), tuple(models)), backend, models.__getitem__
)
as_output(grid)

# %% [markdown]
# ## Measured
#
# Eq. (9) on lite0 features, which need no download. `python -m workbench evaluate` measures the paper's columns, with DINOv3, CLIP, VisualQuality-R1 and the rest, each downloaded on first use.
# (After the rehearsal's few rounds the student may read as more diverse than the teacher. That is not a success: unfinished pictures differ too, and Eq. (9) alone says nothing about quality.)

# %%
import pandas

pandas.DataFrame(
    [
        {
            "prompt": PROMPTS[index],
            "model": model,
            "NFE": row.evaluations,
            "seconds": round(row.seconds, 2),
            "diversity": round(row.diversity.mean, 3),
        }
        for (index, model), row in grid.rows.items()
    ]
)

# %% [markdown]
# ## Exported
#
# A LoRA file that plain diffusers loads, with a model card. The code of the card:

# %%
import shutil

from workbench.training.export import card_code, export_student

folder = Path(f"runs/07-export-{recipe.digest}")
shutil.rmtree(folder, ignore_errors=True)
export_student(run.path, folder, device=device)
source = teacher if not missing else str(Path(backend.pipeline.config._name_or_path))
code = card_code(folder, source)
print(code.replace(source, "TEACHER"))

# %%
import numpy as np

from workbench.core.seeds import grid_noise

PROMPT, noise = PROMPTS[0], grid_noise(backend.latent_shape, [0])
exec(code.replace("(PROMPT,", "(PROMPT, latents=noise.to(pipeline.dtype),"))
expected = (
    backend.decode(models["dp-dmd"].sampled(noise.to(device), backend.encode([PROMPT]), [0]))[0]
    .permute(1, 2, 0)
    .float()
    .cpu()
    .numpy()
)
difference = float(np.abs(np.asarray(image) / 255 - expected).mean())
print(f"mean difference per pixel, of 1: {difference:.5f}")
assert difference < 0.02

# %%
session.end()
