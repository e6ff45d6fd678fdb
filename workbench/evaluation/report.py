"""The report of one evaluation or of several: all tables and figures, and their protocol.

report.md  report.tex  report.html    all tables; the request, how it was measured, what was
                                      dropped and what failed
NAME.csv                              each table
numbers.csv                           a line per number: interval, protocol, prompts, failures
by_prompt.csv                         a line per number and prompt
numbers.json                          each model's numbers without their protocol, for programs
provenance.json                       what made the CSV and JSON files; the others carry it
"""

from __future__ import annotations

import math
import re
from collections.abc import Iterator
from dataclasses import asdict
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
from workbench.io.files import packages
from workbench.io.notation import format_seeds, model_title
from workbench.io.page import report_page
from workbench.io.provenance import write_files
from workbench.io.strict_json import to_json
from workbench.io.tables import Bullets, Table, csv_text
from workbench.models.sampling import OFFICIAL

KIND = "evaluation"  # in what a file says of its making
FEW = 10  # prompts
FEW_NOTE = (
    "Intervals over so few prompts are wide, because they are Student's: that of 3 prompts takes "
    "4.3 standard errors each way, that of 43 takes 2.0."
)


def provenance(evaluation: Evaluation, results: list[ModelResult]) -> list[str]:
    """The request, the models and what is missing: one statement per line."""
    request, about = evaluation.request, evaluation.about
    revision = f" at revision {about['revision']}" if about.get("revision") else ""
    seeds = (
        f"S = {len(request.seeds)} seeds ({format_seeds(request.seeds)}) per prompt, noise policy "
        f"{request.noise}, drawn on the {about.get('generator')}"
    )
    single = (
        "one other image per prompt, sampled in batches of 4 from seed 42"
        if request.noise == OFFICIAL
        else f"the first {request.image_seeds} of them"
    )
    limited = "the first " if request.prompts.limited_to else ""
    lines = [
        f"Teacher: {request.teacher}{revision}. Latents {about.get('latent_shape')}, sampled on "
        f"{about.get('device')}.",
        f"Prompts: {limited}{len(request.prompts.prompts)} of {request.prompts.name}; dropped: "
        f"{request.prompts.summary or 'none'}.",
        f"{seeds}; quality and preference are read from {single}.",
    ]
    lines += _identity_lines(about, results)
    if len(request.prompts.prompts) < FEW:
        lines.append(FEW_NOTE)
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
    missing = evaluation.missing.items()
    return lines + [f"Not done: {task}: {reason}" for task, reason in missing]


def _identity_lines(about: dict, results: list[ModelResult]) -> list[str]:
    """What the teacher is, and what cannot be vouched for."""
    if not about.get("teacher_parts"):
        return [
            "Made by an earlier version, which noted neither all weights nor the software: whether "
            "teacher and students are still the same cannot be told."
        ]
    parts = ", ".join(f"{name} {digest}" for name, digest in about["teacher_parts"].items())
    lines = [f"The teacher's parts by content: {parts}."]
    for result in results:
        name, how = model_title(result.model), result.images.settings
        if other := how.get("trained_on_other"):
            lines.append(f"{name} was trained on another teacher: {', '.join(other)} differ.")
        if how.get("trained_on_unknown"):
            lines.append(
                f"{name} was trained by an earlier version: whether on this teacher cannot be told."
            )
    return lines


def _model_line(result: ModelResult) -> str:
    how = result.images.settings
    source = f" of {how['source']} at revision {how['revision']}" if "source" in how else ""
    return (
        f"{model_title(result.model)}: method {how.get('method') or 'teacher'}, {how['steps']} "
        f"steps ({how['sampler']}), guidance {how['guidance']:g}, {how.get('dtype')} on "
        f"{how.get('device')}, weights {how['weights']}{source}, recipe "
        f"{how.get('digest') or 'none'}."
    )


def evaluation_figures(evaluation: Evaluation, results: list[ModelResult]) -> dict[str, go.Figure]:
    """The plotly figures of one evaluation."""
    if not any(result.numbers for result in results):
        return {}
    return {"numbers": number_dots(results), **planes(results), **prompt_scatter(results)}


def tables_of(evaluated: Evaluated) -> list[Table]:
    """All tables: of each evaluation, then those in the paper's layout."""
    return [
        table
        for one in evaluated
        for table in (number_table(*one), *difference_table(*one), *part_table(*one))
    ] + paper_layouts(evaluated)


def write_evaluation_report(folder: Path, evaluated: Evaluated) -> Path:
    """Writes the files named above into `folder`, in place of an earlier report's; returns the
    path of report.html.
    """
    tables = tables_of(evaluated)
    figures = [figure for one in evaluated for figure in evaluation_figures(*one).values()]
    notes = [
        Bullets("" if n else "Protocol", tuple(provenance(*one))) for n, one in enumerate(evaluated)
    ]
    for old in folder.glob("*.csv"):
        if re.fullmatch(rf"({'|'.join(TABLES)})(-\d+)?\.csv", old.name):
            old.unlink()
    parts = [*tables, *notes]
    texts = {
        "report.md": "\n\n".join(["# Evaluation", *(part.markdown for part in parts)]) + "\n",
        "report.tex": "\n\n".join(part.latex for part in parts) + "\n",
        "report.html": report_page("Evaluation", *tables, *figures, *notes),
    }
    for name, same in groupby(
        sorted(tables, key=lambda table: table.name), lambda table: table.name
    ):
        for number, table in enumerate(same, 1):
            texts[f"{name}.csv" if number == 1 else f"{name}-{number}.csv"] = table.csv
    texts["numbers.csv"] = _long(evaluated)
    texts["by_prompt.csv"] = _by_prompt(evaluated)
    texts["numbers.json"] = to_json(_by_model(evaluated), indent=1)
    write_files(folder, texts, report_made(evaluated))
    return folder / "report.html"


def report_made(evaluated: Evaluated) -> dict:
    """What makes a report again: each evaluation's request, models, machine and numbers."""
    return {
        "kind": KIND,
        "evaluations": [
            {
                "folder": str(evaluation.folder.resolve()),
                "request": evaluation.request.to_dict(),
                "images": {name: asdict(images) for name, images in evaluation.images.items()},
                "about": evaluation.about,
            }
            for evaluation, _ in evaluated
        ],
        "numbers": _by_model(evaluated),
        "packages": packages(),
    }


def _long(evaluated: Evaluated) -> str:
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
        for key, column, number in _each(evaluated)
    ]
    return csv_text(rows)


def _by_prompt(evaluated: Evaluated) -> str:
    rows = [("teacher", "prompts", "model", "number", "protocol", "prompt", "value")]
    rows += [
        (*key, column.protocol, text, value)
        for key, column, number in _each(evaluated)
        for text, value in number.by_prompt.items()
    ]
    return csv_text(rows)


def _by_model(evaluated: Evaluated) -> list[dict]:
    """Of each model: evaluations (NFEs per image), milliseconds per image, and numbers by name,
    null for a missing bound.
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
        for evaluation, results in evaluated
        for result in results
    ]


def _each(evaluated: Evaluated) -> Iterator[tuple[tuple[str, ...], Column, Number]]:
    """Every number, with (teacher, prompts, model, name)."""
    for evaluation, results in evaluated:
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
