"""The report of one evaluation or of several: all tables and figures, and what they rest on.

report.md  report.tex  report.html      all tables, and what was asked, measured by what, dropped and left
NAME.csv                                each table
numbers.csv                             every number with its interval, protocol, prompts and failures, a line each
by_prompt.csv                           every number that there is for each prompt
numbers.json                            each model's numbers without their protocol, for programs
"""

from __future__ import annotations

import json
import math
import re
from collections.abc import Iterator
from itertools import groupby
from pathlib import Path

import plotly.graph_objects as go

from workbench.evaluation.evaluation import Evaluation
from workbench.evaluation.figures import number_dots, planes, prompt_scatter
from workbench.evaluation.numbers import Column, Number
from workbench.evaluation.results import ModelResult
from workbench.evaluation.tables import (
    TABLES,
    Evaluated,
    difference_table,
    number_table,
    paper_layouts,
    part_table,
)
from workbench.io.files import write_atomically
from workbench.io.notation import format_seeds, model_title
from workbench.io.page import report_page
from workbench.io.tables import Bullets, Table, csv_text
from workbench.models.sampling import OFFICIAL

FEW = 10  # prompts
FEW_TOLD = (
    "Bootstrap intervals of so few prompts are too narrow: of simulated normal values, 95 % "
    "intervals over 3 prompts hold the truth in 70 %, "
    "over 5 in 83 %, over 10 in 91 %, over 43 in 95 %."
)


def provenance(evaluation: Evaluation, results: list[ModelResult]) -> list[str]:
    """What was asked, of which models, and what is missing: one statement a line."""
    asked, about = evaluation.request, evaluation.about
    revision = f" at revision {about['revision']}" if about.get("revision") else ""
    seeds = (
        f"S = {len(asked.seeds)} seeds ({format_seeds(asked.seeds)}) a prompt, noise policy "
        f"{asked.noise}, drawn on the {about.get('generator')}"
    )
    single = (
        "one other image a prompt, made in batches of 4 from seed 42"
        if asked.noise == OFFICIAL
        else f"the first {asked.image_seeds} of them"
    )
    limited = "the first " if asked.prompts.limited_to else ""
    lines = [
        f"Teacher: {asked.teacher}{revision}. Latents {about.get('latent_shape')}, sampled on "
        f"{about.get('device')}.",
        f"Prompts: {limited}{len(asked.prompts.prompts)} of {asked.prompts.name}; dropped: "
        f"{asked.prompts.summary or 'none'}.",
        f"{seeds}; quality and preference are read from {single}.",
    ]
    if len(asked.prompts.prompts) < FEW:
        lines.append(FEW_TOLD)
    if about.get("cut"):
        lines.append(
            f"{about['cut']} prompts are longer than the {about['tokens']} tokens that the "
            "teacher's CLIP encoder reads."
        )
    lines += [_model_line(result) for result in results]
    numbers = [
        (model_title(result.model), column.name, number)
        for result in results
        for column, number in result.numbers.items()
    ]
    lines += [
        f"Images without a number: {model}, {name}: {number.failed}."
        for model, name, number in numbers
        if number.failed
    ]
    notes: dict[tuple[str, str], list[str]] = {}
    for model, name, number in numbers:
        notes.setdefault((name, number.note), []).append(model)
    lines += [
        f"{name} ({', '.join(models)}): {note}." for (name, note), models in notes.items() if note
    ]
    return lines + [f"Not done: {what}: {why}" for what, why in evaluation.missing.items()]


def _model_line(result: ModelResult) -> str:
    made = result.images.settings
    source = f" of {made['source']} at revision {made['revision']}" if "source" in made else ""
    return (
        f"{model_title(result.model)}: method {made.get('method') or 'teacher'}, {made['steps']} "
        f"steps ({made['sampler']}), "
        f"guidance {made['guidance']:g}, {made.get('dtype')} on {made.get('device')}, weights "
        f"{made['weights']}{source}, "
        f"recipe {made.get('digest') or 'none'}."
    )


def evaluation_figures(evaluation: Evaluation, results: list[ModelResult]) -> dict[str, go.Figure]:
    """The plotly figures of one evaluation."""
    if not any(result.numbers for result in results):
        return {}
    return {"numbers": number_dots(results), **planes(results), **prompt_scatter(results)}


def tables_of(found: Evaluated) -> list[Table]:
    return [
        table
        for one in found
        for table in (number_table(*one), *difference_table(*one), *part_table(*one))
    ] + paper_layouts(found)


def write_evaluation_report(folder: Path, found: Evaluated) -> Path:
    """Writes the files named above into `folder`, in place of an earlier report's; returns the
    path of report.html. `found` are evaluations with their results.
    """
    tables = tables_of(found)
    figures = [figure for one in found for figure in evaluation_figures(*one).values()]
    notes = [
        Bullets("" if n else "Protocol", tuple(provenance(*one))) for n, one in enumerate(found)
    ]
    folder.mkdir(parents=True, exist_ok=True)
    for old in folder.glob("*.csv"):
        if re.fullmatch(rf"({'|'.join(TABLES)})(-\d+)?\.csv", old.name):
            old.unlink()

    def put(name: str, text: str) -> None:
        write_atomically(folder / name, lambda part: part.write_text(text, encoding="utf-8"))

    parts = [*tables, *notes]
    put("report.md", "\n\n".join(["# Evaluation", *(part.markdown for part in parts)]) + "\n")
    put("report.tex", "\n\n".join(part.latex for part in parts) + "\n")
    put("report.html", report_page("Evaluation", *tables, *figures, *notes))
    for name, same in groupby(
        sorted(tables, key=lambda table: table.name), lambda table: table.name
    ):
        for number, table in enumerate(same, 1):
            put(f"{name}.csv" if number == 1 else f"{name}-{number}.csv", table.csv)
    put("numbers.csv", _long(found))
    put("by_prompt.csv", _by_prompt(found))
    put("numbers.json", json.dumps(_by_model(found), indent=1))
    return folder / "report.html"


def _long(found: Evaluated) -> str:
    rows = [
        (
            "teacher",
            "prompts",
            "model",
            "number",
            "value",
            "low",
            "high",
            "count",
            "failed",
            "protocol",
            "note",
        )
    ]
    rows += [
        (*key, *number.interval, number.prompts, number.failed, column.protocol, number.note)
        for key, column, number in _each(found)
    ]
    return csv_text(rows)


def _by_prompt(found: Evaluated) -> str:
    rows = [("teacher", "prompts", "model", "number", "protocol", "prompt", "value")]
    rows += [
        (*key, column.protocol, text, value)
        for key, column, number in _each(found)
        for text, value in number.by_prompt.items()
    ]
    return csv_text(rows)


def _by_model(found: Evaluated) -> list[dict]:
    """Of each model: evaluations (NFEs an image), milliseconds an image, and numbers by name, null
    where there is none.
    """
    return [
        {
            "teacher": evaluation.request.teacher,
            "prompts": evaluation.request.prompts.name,
            "model": result.model,
            "evaluations": result.images.evaluations,
            "milliseconds": result.images.milliseconds,
            "numbers": {
                column.name: {
                    bound: None if math.isnan(value) else value
                    for bound, value in number.interval._asdict().items()
                }
                for column, number in result.numbers.items()
            },
        }
        for evaluation, results in found
        for result in results
    ]


def _each(found: Evaluated) -> Iterator[tuple[tuple[str, ...], Column, Number]]:
    """Every number, with (teacher, prompts, model, name)."""
    for evaluation, results in found:
        for result in results:
            for column, number in result.numbers.items():
                yield (
                    (
                        evaluation.request.teacher,
                        evaluation.request.prompts.name,
                        result.model,
                        column.name,
                    ),
                    column,
                    number,
                )
