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
# # 2. Training: DMD and DP-DMD, live
#
# Two students are distilled from the same teacher, with the same prompts, noises, rates and rounds. One learns by DMD, the other by DP-DMD: its first
# step follows the teacher, DMD trains the rest, and DMD's gradient stops after step 1.
#
# You will see: Algorithm 1 as it runs; a dashboard with losses, gradients, diversity and samples, in which you can pause and resume; the two students side by
# side and measured; and the student you trained, saved, exported and loaded by plain `diffusers`.
#
# It takes about five minutes on two CPU cores. It ends with two asserted numbers: the diversity that each student keeps, and the difference between diffusers' images and ours.

# %% tags=["parameters"]
import os

SHORT = "WORKBENCH_SHORT" in os.environ  # the settings of CI: seconds instead of minutes
TEACHER = "scenes"  # also "scenes-eps"; on a GPU "stabilityai/stable-diffusion-3.5-medium", or a pipeline's folder
SETTINGS = {}  # of the recipe; on a GPU dict(prompts="prompts.txt", lora=64, batch=4, resolution=512, checkpointing=True)
ROUNDS = 4 if SHORT else 100
PROMPTS, LIMIT, SEEDS = (
    "scenes",
    6 if SHORT else 0,
    4 if SHORT else 9,
)  # the students are measured on these; "neutral" for other teachers
METRICS = ("diversity", "spread", "geneval")  # of other teachers ("diversity",)
PROMPT = "a circle"  # of the pictures
SEED = 0

# %%
from workbench.lab import begin
from workbench.models.loading import best_device

device = best_device()
session = begin(SEED, device)

# %% [markdown]
# ## The recipe
#
# A recipe is a frozen dataclass: all settings of a run, and the only place of their defaults. The two recipes of this notebook differ in one word.

# %%
from dataclasses import asdict, replace

import pandas

from workbench.core.presets import recipe_of

recipe = replace(
    recipe_of(TEACHER),
    teacher=TEACHER,
    method="dp_dmd",
    rounds=ROUNDS,
    seed=SEED,
    sample_every=max(ROUNDS // 10, 1),
    checkpoint_every=10,
    **SETTINGS,
)
recipes = {"dmd": replace(recipe, method="dmd"), "dp-dmd": recipe}
shown = (
    "method",
    "rounds",
    "fake_updates_per_round",
    "batch",
    "k",
    "lam",
    "guidance",
    "student_steps",
    "student_rate",
    "fake_rate",
)
pandas.DataFrame({name: asdict(one) for name, one in recipes.items()}).loc[list(shown)]

# %% [markdown]
# ## Algorithm 1
#
# A distiller yields an event for each update: the fake network's, then the student's. Stop iterating, and training stops. This is the outermost loop (of the two recipes, DMD does not read k and lam):

# %%
import inspect

from workbench.core.distiller import Distiller
from workbench.training.build import new_distiller

print(inspect.getsource(Distiller.round))
distiller = new_distiller(recipe, device)
for step in distiller.rounds(2):
    losses = ", ".join(f"{term} {loss:.4f}" for term, loss in step.losses.items())
    print(
        f"round {step.round}  {step.network:8}{losses:34} gradient norm {step.grad_norm:.2f}  {step.seconds:.2f} s"
    )
del distiller  # and its networks

# %% [markdown]
# ## The dashboard
#
# Both runs, one after the other, each in its own folder. In JupyterLab the dashboard is live: **Pause** waits after the update in progress, **Stop** ends it, and
# **Start** continues from the last checkpoint, bit for bit as if nothing had happened. Look at *gradient norm by student step* while it runs: under
# DP-DMD the first step gets the diversity term alone, and of DMD exactly nothing.
#
# (Run folders are named after their recipe. Run this again, and it shows the existing runs; delete `runs/` to train again.)

# %%
from pathlib import Path

from workbench.lab.dashboard import Dashboard
from workbench.training.run import Run

runs = {
    name: Run.at(Path("runs") / f"02-{name}-{one.digest}", one, device)
    for name, one in recipes.items()
}
dashboard = Dashboard(runs, device)
dashboard.start()
dashboard

# %% [markdown]
# The next cell waits until both are trained, and prints each reading: Eq. (9) on a small panel of four prompts and six seeds.

# %%
await dashboard.finished()

# %% [markdown]
# The final figure, as a static one. DMD's loss is not a distance to the teacher: it is half the mean square of the normalised difference g of (5), so a flat curve says nothing about
# quality. Watch the diversity at the lower right.

# %%
dashboard.figure()

# %% [markdown]
# ## Side by side
#
# Teacher and students on one prompt, from the same noise down each column. Compare the columns: does a student's picture still change with the seed as the teacher's does?

# %%
from workbench.grid.request import GridRequest
from workbench.lab.pictures import as_output, seed_grid
from workbench.models.loading import load_backend
from workbench.models.model import teacher_model
from workbench.models.students import load_student

backend = load_backend(TEACHER, device, recipe.precision, recipe.resolution)
models = {"teacher": teacher_model(backend, recipe.teacher_steps, recipe.guidance)}
models |= {name: load_student(run.path / "student", backend, name) for name, run in runs.items()}
grid = seed_grid(
    GridRequest((PROMPT,), tuple(range(SEEDS)), tuple(models)), backend, models.__getitem__
)
as_output(grid)

# %% [markdown]
# ## Measured
#
# One prompt is an anecdote. Here is the same on the captions of `reported_on`, on which no setting of this project was chosen; intervals are over prompts.

# %%
from itertools import chain

from IPython.display import Markdown

from workbench.evaluation.evaluation import Evaluation
from workbench.evaluation.prompt_lists import prompt_list
from workbench.evaluation.request import EvaluationRequest
from workbench.evaluation.tables import number_table
from workbench.io.progress import watched

request = EvaluationRequest(
    tuple(models), prompt_list(PROMPTS, LIMIT), tuple(range(SEEDS)), METRICS, teacher=TEACHER
)
evaluation = Evaluation(Path("runs") / f"02-evaluation-{recipe.digest}", request)
watched(chain(evaluation.generate(backend, models.__getitem__), evaluation.read(device)))
results = evaluation.results()
Markdown(number_table(evaluation, results).markdown)

# %% [markdown]
# ## Saved and exported
#
# The run's `student/` is what the app's Compare tab offers. `export_student` writes an ordinary diffusers pipeline (for a LoRA run the adapter) with a model card. Others need only the code of that
# card:

# %%
import shutil

from workbench.training.export import card_code, export_student

shutil.rmtree("runs/02-export", ignore_errors=True)
exported = export_student(runs["dp-dmd"].path, Path("runs/02-export"), device=device)
code = card_code(exported, TEACHER)
print(code)

# %% [markdown]
# We run it as printed, except for our own noise, and compare with the workbench's sample.

# %%
import numpy as np

from workbench.core.seeds import grid_noise

noise = grid_noise(backend.latent_shape, [SEED])
exec(code.replace("(PROMPT,", "(PROMPT, latents=noise.to(pipeline.dtype),"))
ours = (
    backend.decode(models["dp-dmd"].sampled(noise.to(device), backend.encode([PROMPT]), [SEED]))[0]
    .permute(1, 2, 0)
    .float()
    .cpu()
    .numpy()
)
difference = float(np.abs(np.asarray(image) / 255 - ours).mean())
print(f"mean difference per pixel, of 1: {difference:.5f}")
as_output(image.resize((192, 192)))

# %% [markdown]
# ## What came out
#
# The share of the teacher's diversity that each student keeps. After these few rounds, in this regime (one fake update per round, and a student that learns
# twice as fast as its fake network), DMD has lost a good part of it and DP-DMD has not. The regime is part of the result: notebook 3 shows where it ends.

# %%
kept = {
    result.model: next(
        number.interval.mean
        for column, number in result.numbers.items()
        if column.name.startswith("diversity")
    )
    for result in results
}
share = {name: kept[name] / kept["teacher"] for name in runs}
print({name: f"{value:.0%}" for name, value in share.items()})
assert difference < 0.02
if not SHORT and TEACHER == "scenes":
    assert share["dmd"] < 0.85 < 0.9 < share["dp-dmd"]

# %%
session.end()
