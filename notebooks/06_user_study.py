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
# # 6. A user study: from votes to a report
#
# Appendix D asks people: which of two grids is more diverse, which has the better images? This notebook makes such a study, answers it with simulated people whose taste we
# know, and checks whether the analysis finds the truth. Then it plans a study: how many people, how many prompts?
#
# You will see: a question as participants see it; why an interval that treats votes as independent is wrong; the effect of careless participants, and the rule that excludes
# them; the report; and the factors that power depends on.
#
# It takes about half a minute on one CPU core and ends with asserted numbers: how often each interval covers the truth, and the power of the planned study.

# %% tags=["parameters"]
import os

SHORT = "WORKBENCH_SHORT" in os.environ  # the settings of CI: seconds instead of minutes
TEACHER, METHODS = (
    "scenes",
    ("dmd", "dp-dmd"),
)  # the shown methods; on a GPU any teacher and its students
PROMPTS = 3 if SHORT else 8
PEOPLE, ITEMS, TRIALS = (
    20,
    40,
    20,
)  # of the simulated study: participants, prompts, questions of each
STUDIES = 40 if SHORT else 400  # simulated, to check intervals
REPETITIONS = 200 if SHORT else 2000  # simulated, for the power of one plan
SEED = 0

# %%
from workbench.lab import begin
from workbench.models.loading import best_device

device = best_device()
session = begin(SEED, device)

# %% [markdown]
# ## A study is frozen before anyone votes
#
# The images first: DMD and DP-DMD from the same noise, four seeds per prompt. `create_study` renders a sheet for each prompt and method, all of one size, under neutral names, and freezes
# the design with them. Its digest will be in the report. The same from a shell: `python -m workbench study create --models dmd,dp-dmd`.

# %%
import shutil
from pathlib import Path

from workbench.evaluation.evaluation import Evaluation
from workbench.evaluation.prompt_lists import prompt_list
from workbench.evaluation.request import EvaluationRequest
from workbench.io.progress import watched
from workbench.models.loading import load_backend
from workbench.models.students import open_model, students_of
from workbench.study.stimuli import create_study, samples_of_evaluation

backend, students = load_backend(TEACHER, device), students_of(TEACHER)
request = EvaluationRequest(
    METHODS,
    prompt_list("scenes" if TEACHER.startswith("scenes") else "neutral", PROMPTS),
    tuple(range(4)),
    teacher=TEACHER,
)
evaluation = Evaluation(Path("runs/06-images"), request)
watched(evaluation.generate(backend, lambda name: open_model(students[name], backend, name)))
shutil.rmtree("runs/06-study", ignore_errors=True)
store = create_study(
    Path("runs/06-study"),
    samples_of_evaluation(evaluation.folder),
    {"title": "Which grid?", "trials": PROMPTS, "gold": 2, "repeats": 1},
)
design = store.design
print(
    f"study {design.digest}: {len(design.prompts)} prompts, {design.length} questions per participant; participants who fail more than {design.max_gold_failures} of {design.gold} gold questions are excluded"
)

# %% [markdown]
# ## One question
#
# A participant joins and gets a question. The store names the left and the right image by tokens that are valid for this question only; the page never learns more. (The first question is for practice.)

# %%
import io

from PIL import Image

from workbench.lab.pictures import as_output
from workbench.study.server.pictures import Pictures

participant = store.join(consent=True).participant
trial = store.next_trial(participant)
print(trial)
page, sheets = Image.new("RGB", (1000, 490), "white"), Pictures(Path("runs/06-study"))
for side, token in enumerate((trial.left, trial.right)):
    page.paste(
        Image.open(io.BytesIO(sheets.disguised(store.image_of(token)))).resize((490, 490)),
        (510 * side, 0),
    )
as_output(page)

# %% [markdown]
# ## Simulated people
#
# Real votes share people and prompts: some people prefer one method more than others do, and some prompts show the difference better. So each simulated participant has an individual
# taste, and each prompt an individual effect. Our method is truly better in diversity, and truly equal in quality.

# %%
from workbench.study.analysis.simulation import SimulatedStudy, true_rate
from workbench.study.analysis.statistics import win_rates

truth = {"diversity": {"ours": 0.7, "theirs": 0.0}, "quality": {"ours": 0.0, "theirs": 0.0}}
ballots = SimulatedStudy(
    truth,
    participants=PEOPLE,
    prompts=ITEMS,
    trials=TRIALS,
    ties=0.15,
    skips=0.03,
    careless=2,
    golds=3,
    repeats=2,
    seed=SEED,
).ballots()
for result in win_rates(ballots):
    found, wilson = result.of("ours").half, result.of("ours").wilson
    true = true_rate(truth[result.criterion]["ours"], ties=0.15)
    print(
        f"{result.criterion:10} truth {true:.3f}   found {found.value:.3f} [{found.low:.3f}, {found.high:.3f}]   as if independent [{wilson.low:.3f}, {wilson.high:.3f}]"
    )

# %% [markdown]
# ## Are the intervals right?
#
# One study proves nothing. Here are many in which the methods are *equal*. A test that keeps its level calls 5 % of them different, and its p is flat. A test that treats votes
# as independent finds false differences in about a fifth of them: a lab that used it would publish noise.

# %%
from scipy import stats

from workbench.study.figures_power import p_histogram

null = {"quality": {"ours": 0.0, "theirs": 0.0}}
studies = [
    win_rates(
        SimulatedStudy(null, participants=PEOPLE, prompts=ITEMS, trials=TRIALS, seed=seed).ballots()
    )[0]
    for seed in range(STUDIES)
]
naive = [
    stats.binomtest(one.first_wins, one.first_wins + one.second_wins).pvalue for one in studies
]
clustered = [one.decided.p for one in studies]
p_histogram(
    {"as if votes were independent": naive, "clustered by participant and prompt": clustered},
    f"p in {STUDIES} studies of two equal methods",
)

# %% [markdown]
# Conversely: how often does each interval contain the truth, if there is a difference?

# %%
true = true_rate(0.7)
different = [
    win_rates(
        SimulatedStudy(
            {"diversity": truth["diversity"]},
            participants=PEOPLE,
            prompts=ITEMS,
            trials=TRIALS,
            seed=seed,
        ).ballots()
    )[0].of("ours")
    for seed in range(STUDIES)
]
covered = {
    "clustered": sum(one.decided.low <= true <= one.decided.high for one in different) / STUDIES,
    "as if independent": sum(one.wilson.low <= true <= one.wilson.high for one in different)
    / STUDIES,
}
rejected = {
    "clustered": sum(p < 0.05 for p in clustered) / STUDIES,
    "as if independent": sum(p < 0.05 for p in naive) / STUDIES,
}
print(
    "the 95 % interval contains the truth in",
    {name: f"{share:.1%}" for name, share in covered.items()},
)
print(
    "equal methods are called different in",
    {name: f"{share:.1%}" for name, share in rejected.items()},
)

# %% [markdown]
# ## Careless participants
#
# Two of the twenty simulated participants press keys at random. Questions with a known answer (a blurred sheet against a sharp one) find them; the exclusion rule was frozen in the design, and the report has
# every number with and without them.

# %%
from workbench.study.analysis.findings import analysis
from workbench.study.design import StudyDesign
from workbench.study.figures import study_figures

planned = StudyDesign(
    "Simulated",
    ("theirs", "ours"),
    tuple(f"prompt {n:03}" for n in range(ITEMS)),
    (0, 1, 2, 3),
    trials=TRIALS,
    gold=3,
    repeats=2,
)
found = analysis(ballots, *planned.rule)
print("excluded:", {name: ", ".join(reasons) for name, reasons in found.excluded.items()})
figures = study_figures(planned, found, ballots, "ours")
figures["participants"]

# %% [markdown]
# ## The report
#
# Figure B of the paper, with trustworthy intervals; with tables, protocol and every vote. For a real study: `python -m workbench study report STUDY`.

# %%
from workbench.study.report import finding_sentences, write_study_report

print(write_study_report(Path("runs/06-report"), planned, ballots, reference="ours"))
print(*finding_sentences(planned, found, "ours"), sep="\n")
figures["preferences"]

# %% [markdown]
# ## Planning a study
#
# How many prompts, how many people? Power by simulation, with the test of the report. Votes of one person share that person's taste, and votes on one prompt share that
# prompt's effect. So **the same number of votes is worth more if it is spread over more prompts**. Doubling the people doubles the votes too, and helps even more, at twice the price.

# %%
from workbench.study.analysis.power import power, power_table
from workbench.study.figures_power import power_curves

plans = power_table(
    [PEOPLE],
    (20, 30, 40, 60, 80),
    [TRIALS],
    (0.55, 0.6, 0.65, 0.7),
    repetitions=REPETITIONS,
    seed=SEED,
)
power_curves(
    plans,
    f"{PEOPLE} participants with {TRIALS} votes each: the same {PEOPLE * TRIALS} votes, spread over more prompts",
)

# %%
more_people, more_prompts = (
    power(
        participants=people,
        prompts=prompts,
        votes_per_participant=TRIALS,
        rate=0.6,
        repetitions=REPETITIONS,
        seed=SEED,
    )
    for people, prompts in ((2 * PEOPLE, ITEMS), (PEOPLE, 2 * ITEMS))
)
base = next(one for one in plans if one.prompts == ITEMS and one.rate == 0.6)
print(
    f"a true rate of 0.6 is found by {base.power:.0%} of such studies; with twice the people {more_people.power:.0%}, with twice the prompts {more_prompts.power:.0%}"
)
strong = next(one for one in plans if one.prompts == ITEMS and one.rate == 0.7)
assert set(found.excluded) <= {f"p{PEOPLE - 2:03}", f"p{PEOPLE - 1:03}"}
assert strong.power > 0.9
if not SHORT:
    assert covered["clustered"] > 0.92 > covered["as if independent"]
    assert rejected["clustered"] < 0.08 < rejected["as if independent"]

# %%
session.end()
