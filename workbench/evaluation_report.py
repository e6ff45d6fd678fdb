"""Evaluations as tables, figures and a page: every number with its protocol, and the paper's tables with ours beside the paper's.

    report.md  report.tex  report.html      all tables, and what was asked, measured by what, dropped and left
    NAME.csv                                each table
    numbers.csv                             every number with its interval, protocol, prompts and failures, a line each
    by_prompt.csv                           every number that there is for each prompt

In the layout of Tables 1 to 4 a prompt list is a group of columns, so the report of several evaluations (one a list) is one table.
The paper's rows stand there where teacher and list are the paper's; nowhere else would the comparison mean anything.
"""

from __future__ import annotations

import csv
import io
import math
from html import escape
from itertools import groupby
from pathlib import Path

import numpy as np
import plotly.graph_objects as go

from workbench.evaluation import Evaluation, Result
from workbench.evaluation_metrics import Column, Number
from workbench.figures.evaluation import columns_of, number_dots, planes, prompt_scatter
from workbench.grid_request import TEACHER, format_seeds, model_title
from workbench.image_store import OFFICIAL
from workbench.metrics.diversity import bootstrap_interval
from workbench.paper_tables import (GROUPS, LIST_TITLES, OURS, TABLE_1, TABLE_2, TABLE_3, TABLE_4, TABLE_5, TASK_TITLES, TEACHER_TITLES, PaperRow)
from workbench.recipe import same_teacher
from workbench.runs import write_whole
from workbench.tables import Table, guarded

LABELS = {"dmd": "DMD", "dmd_lpips": "DMD-LPIPS", "dmd_gan": "DMD-GAN", "dp_dmd": "DP-DMD", "dp_dmd_no_stop": "DP-DMD, no stop"}
IMAGE_FREE = {"dmd": True, "dmd_lpips": False, "dmd_gan": False, "dp_dmd": True, "dp_dmd_no_stop": True}
Found = list[tuple[Evaluation, list[Result]]]


def number_table(evaluation: Evaluation, results: list[Result]) -> Table:
    """A row a model, a column a number, with 95 % intervals over prompts."""
    columns = columns_of(results)
    heads = ["model", "NFE", "ms / image", *(column.title for column in columns)]
    rows = [(model_title(result.model), str(result.made.evaluations), _plain(result.made.milliseconds, 1),
             *(_cell(result.numbers.get(column), column.digits) for column in columns)) for result in results]
    asked = evaluation.request
    title = f"{len(asked.prompts.prompts)} prompts of {asked.prompts.name}, {len(asked.seeds)} seeds"
    return Table("numbers-by-model", title, tuple(("", head) for head in heads), tuple(rows), tuple(_protocols(columns)))


def difference_table(evaluation: Evaluation, results: list[Result]) -> list[Table]:
    """Each student's number less the teacher's on the same prompts, with the interval of these differences: far narrower than those of
    the two numbers, for a prompt that is diverse for one is so for the other."""
    teacher = next((result for result in results if _teacher(result)), None)
    columns = [column for column in columns_of(results) if teacher and column in teacher.numbers and teacher.numbers[column].by_prompt
               and column.name != "correct"]  # which is a mean of tasks, not of prompts
    rows = []
    for result in results:
        cells = [_cell(_difference(result.numbers.get(column), teacher.numbers[column]), column.digits) for column in columns]
        if result is not teacher and any(cells):
            rows.append((model_title(result.model), *cells))
    if not rows:
        return []
    return [Table("differences", "Less the teacher, prompt by prompt", (("", "model"), *(("", column.title) for column in columns)), tuple(rows))]


def _difference(own: Number | None, teacher: Number) -> Number | None:
    """Over the prompts that both have a number of; None where there are none."""
    both = [text for text in teacher.by_prompt if own and text in own.by_prompt]
    if not both:
        return None
    return Number(bootstrap_interval(np.array([own.by_prompt[text] - teacher.by_prompt[text] for text in both])), len(both))


def part_table(evaluation: Evaluation, results: list[Result]) -> list[Table]:
    """Factor spread, factor by factor, where it was measured."""
    columns = dict.fromkeys(column for result in results for column in result.numbers if column.name.startswith("spread of "))
    if not columns:
        return []
    rows = [(model_title(result.model), *(_cell(result.numbers.get(column), column.digits) for column in columns)) for result in results]
    return [Table("factor-spread", "Factor spread over that of the data, by factor", (("", "model"), *(("", c.name[len("spread of "):]) for c in columns)),
                  tuple(rows))]


def paper_layouts(found: Found) -> list[Table]:
    """Those of the paper's tables that one of the models has a row in."""
    results = [result for _, part in found for result in part]
    students = [result for result in results if result.model != TEACHER]
    tables = []
    if any(_method(result) in LABELS for result in students):
        tables.append(_scores("table-1", "Table 1: variants of DMD", TABLE_1, found, lambda r: _label(r) if _method(r) in LABELS or _teacher(r) else ""))
    if any(_label(result) in ("Hyper-SD", "Flash", "TDM") for result in students):
        tables.append(_scores("table-2", "Table 2: few-step methods", TABLE_2, found, _label))
    varied = [result for result in students if _method(result) == "dp_dmd"]
    for name, title, paper, key, written in (("table-3", "Table 3: the anchor step K", TABLE_3, "k", "K = {:g}"),
                                             ("table-4", "Table 4: the weight lambda", TABLE_4, "lam", "lambda = {:g}")):
        if len({result.made.settings[key] for result in varied}) > 1:
            tables.append(_scores(name, title, paper, found, lambda r, key=key, written=written: _varied(r, key, written)))
    if any(column.name == "correct" for result in results for column in result.numbers):
        tables.append(_geneval(found))
    return tables


def _scores(name: str, title: str, paper: dict[str, tuple[PaperRow, ...]], found: Found, label) -> Table:
    """The layout of Tables 1 to 4. `label` says which row a result is, "" for none."""
    groups = [_group(results) for _, results in found]
    columns = [("", "method"), ("", "image-free"), ("", "NFEs")]
    columns += [(f"{_list_title(evaluation)}, {group}", short) for (evaluation, _), part in zip(found, groups) for group, short, _ in part]
    rows = []
    for teacher in dict.fromkeys(evaluation.request.teacher for evaluation, _ in found):
        for row in _paper_rows(paper, teacher, found):
            cells = [_paper_cells(row, evaluation, part) for (evaluation, _), part in zip(found, groups)]
            rows.append((f"{row.label} (paper)", _mark(row.image_free), str(row.evaluations or ""), *sum(cells, [])))
        rows += _our_rows(teacher, found, groups, label)
    return Table(name, title, tuple(columns), tuple(rows), _comparable(paper, found))


def _our_rows(teacher: str, found: Found, groups: list, label) -> list[tuple[str, ...]]:
    models: dict[str, list[Result | None]] = {}
    for place, (evaluation, results) in enumerate(found):
        for result in results:
            if evaluation.request.teacher == teacher and label(result):
                models.setdefault(result.model, [None] * len(found))[place] = result
    rows = []
    for model, places in models.items():
        one = next(result for result in places if result)
        cells = [_our_cells(result, part) for result, part in zip(places, groups)]
        shown = label(one) if label(one) == model_title(model) else f"{label(one)}: {model_title(model)}"
        rows.append((shown if not _teacher(one) else f"Base Model: {teacher}", _mark(IMAGE_FREE.get(_method(one))), str(one.made.evaluations),
                     *sum(cells, [])))
    return rows


def _geneval(found: Found) -> Table:
    rows = []
    for evaluation, results in found:
        teacher = evaluation.request.teacher
        rows += [(f"{row.label} (paper)", *(f"{value:.2f}" for value in row.numbers["geneval"]))
                 for row in _paper_rows(TABLE_5, teacher, [(evaluation, results)])]
        for result in results:
            numbers = {column.name: number for column, number in result.numbers.items()}
            if "correct" in numbers:
                shown = f"Base Model: {teacher}" if _teacher(result) else model_title(result.model)
                rows.append((shown, *(_plain(numbers[task].interval.mean, 2) if task in numbers else "" for task in TASK_TITLES)))
    judged = dict.fromkeys(f"Judged by: {column.protocol}." for _, results in found for result in results for column in result.numbers
                           if column.name == "correct")
    heads = tuple(("", head) for head in ("method", *TASK_TITLES.values()))
    return Table("table-5", "Table 5: prompt following, GenEval's six tasks", heads, tuple(rows), (*judged, *_comparable(TABLE_5, found)))


def _paper_rows(paper: dict[str, tuple[PaperRow, ...]], teacher: str, found: Found) -> tuple[PaperRow, ...]:
    """The paper's rows of a teacher, where one of the lists is one of the paper's."""
    lists = {evaluation.request.prompts.name for evaluation, _ in found if evaluation.request.teacher == teacher}
    rows = next((rows for source, rows in paper.items() if same_teacher(source, teacher)), ())
    return tuple(row for row in rows if lists & set(row.numbers))


def _paper_cells(row: PaperRow, evaluation: Evaluation, part: list) -> list[str]:
    printed = dict(zip(OURS, row.numbers.get(evaluation.request.prompts.name, ())))
    return [(f"{printed[short]:.2f}" if short == "PicS" else f"{printed[short]:.3f}") if short in printed else "" for _, short, _ in part]


def _our_cells(result: Result | None, part: list) -> list[str]:
    numbers = {column.name: (column, number) for column, number in result.numbers.items()} if result else {}
    return [_plain(numbers[name][1].interval.mean, 2 if name == "pickscore" else numbers[name][0].digits) if name in numbers else ""
            for _, _, name in part]


def _group(results: list[Result]) -> list[tuple[str, str, str]]:
    """(group, heading, our column's name): the paper's columns, and beside them what the paper does not have."""
    kinds = {"diversity": "Diversity", "vendi": "Diversity", "factor": "Diversity", "recall": "Diversity", "coverage": "Diversity",
             "maniqa-pyiqa": "Quality", "pickscore-26": "Preference", "clipscore": "Prompt following", "correct": "Prompt following"}
    others = [column.name for column in columns_of(results) if column.name not in OURS.values()]
    found = []
    for group in dict.fromkeys([*GROUPS, *kinds.values()]):
        found += [(group, short, OURS[short]) for short in GROUPS.get(group, ())]
        found += [(group, name.removeprefix("diversity "), name) for name in others if kinds.get(name.split(" ")[0]) == group]
    return found


def _comparable(paper: dict, found: Found) -> tuple[str, ...]:
    if any(_paper_rows(paper, evaluation.request.teacher, [(evaluation, [])]) for evaluation, _ in found):
        whole = all(len(evaluation.request.seeds) == 9 and evaluation.request.noise == OFFICIAL for evaluation, _ in found)
        return () if whole else ("The paper's rows have 9 seeds and the noise policy official; ours differ in that.",)
    return ("Not comparable with the paper's numbers, which are of other teachers and prompts and therefore left out.",)


def _method(result: Result) -> str:
    return str(result.made.settings.get("method") or "")


def _teacher(result: Result) -> bool:
    return result.model == TEACHER


def _label(result: Result) -> str:
    """The row of Tables 1 and 2 that a model is."""
    if _teacher(result):
        return "Base Model"
    title = LABELS.get(_method(result), _method(result))
    return next((name for name in ("Hyper-SD", "Flash", "TDM") if title.startswith(name)), title)


def _varied(result: Result, key: str, written: str) -> str:
    if _method(result) == "dp_dmd":
        return written.format(result.made.settings[key])
    return "DMD" if _method(result) == "dmd" else ""


def _list_title(evaluation: Evaluation) -> str:
    name = evaluation.request.prompts.name
    return LIST_TITLES.get(name, Path(name).name)


def _mark(flag: bool | None) -> str:
    return {True: "yes", False: "no", None: ""}[flag]


def _plain(value: float | None, digits: int) -> str:
    return "" if value is None or math.isnan(value) else f"{value:.{digits}f}"


def _cell(number: Number | None, digits: int) -> str:
    if number is None:
        return ""
    mean, low, high = number.interval
    shown = _plain(mean, digits)
    return shown if math.isnan(low) else f"{shown} [{low:.{digits}f}, {high:.{digits}f}]"


def _protocols(columns: list[Column]) -> list[str]:
    by: dict[str, list[str]] = {}
    for column in columns:
        by.setdefault(column.protocol, []).append(column.name)
    return [f"{', '.join(names)}: {protocol}." for protocol, names in by.items()]


def provenance(evaluation: Evaluation, results: list[Result]) -> list[str]:
    """What was asked, of which models, and what is missing: one statement a line."""
    asked, about = evaluation.request, evaluation.about
    revision = f" at revision {about['revision']}" if about.get("revision") else ""
    lines = [f"Teacher: {asked.teacher}{revision}. Latents {about.get('latent_shape')}, sampled on {about.get('device')}.",
             f"Prompts: {len(asked.prompts.prompts)} of {asked.prompts.name}; dropped: {asked.prompts.told or 'none'}.",
             f"S = {len(asked.seeds)} seeds ({format_seeds(asked.seeds)}) a prompt, noise {asked.noise}, drawn on the {about.get('generator')}; "
             f"{asked.image_seeds} of them read for quality and preference." if asked.noise != OFFICIAL else
             f"S = {len(asked.seeds)} seeds ({format_seeds(asked.seeds)}), the same noises for all prompts, drawn on the {about.get('generator')}; quality and "
             "preference on one other image a prompt, batches of 4 from seed 42."]
    if about.get("cut"):
        lines.append(f"{about['cut']} prompts are longer than the {about['tokens']} tokens of the teacher's CLIP encoder, which reads that much of them.")
    for result in results:
        made = result.made.settings
        lines.append(f"{model_title(result.model)}: method {made.get('method') or 'teacher'}, {made['steps']} steps ({made['sampler']}), guidance "
                     f"{made['guidance']:g}, weights {made['weights']}, recipe {made.get('digest') or 'none'}.")
    failed = {f"{result.model}, {column.name}": number.failed for result in results for column, number in result.numbers.items() if number.failed}
    lines += [f"Images without a number: {what}: {count}." for what, count in failed.items()]
    lines += [f"{model_title(result.model)}, {column.name}: {number.note}." for result in results for column, number in result.numbers.items() if number.note]
    return lines + [f"Not done: {what}: {why}" for what, why in evaluation.left.items()]


def figures_of(evaluation: Evaluation, results: list[Result]) -> dict[str, go.Figure]:
    """The plotly figures of one evaluation."""
    if not any(result.numbers for result in results):
        return {}
    return {"numbers": number_dots(results), **planes(results), **prompt_scatter(results)}


def tables_of(found: Found) -> list[Table]:
    return [table for one in found for table in (number_table(*one), *difference_table(*one), *part_table(*one))] + paper_layouts(found)


def write_report(folder: Path, evaluations: list[Evaluation]) -> Path:
    """Writes the files named above into `folder`; returns the path of report.html."""
    found = [(evaluation, evaluation.results()) for evaluation in evaluations]
    tables, told = tables_of(found), [provenance(*one) for one in found]
    folder.mkdir(parents=True, exist_ok=True)

    def put(name: str, text: str) -> None:
        write_whole(folder / name, lambda part: part.write_text(text, encoding="utf-8"))

    put("report.md", "\n\n".join(["# Evaluation", *(table.markdown for table in tables), "## Protocol", *(_bullets(lines) for lines in told)]) + "\n")
    put("report.tex", "\n\n".join(table.latex for table in tables) + "\n")
    for name, same in groupby(sorted(tables, key=lambda table: table.name), lambda table: table.name):
        for number, table in enumerate(same, 1):
            put(f"{name}.csv" if number == 1 else f"{name}-{number}.csv", table.csv)
    put("numbers.csv", _long(found))
    put("by_prompt.csv", _by_prompt(found))
    put("report.html", _page(found, tables, told))
    return folder / "report.html"


def _bullets(lines: list[str]) -> str:
    return "\n".join(f"- {line}" for line in lines)


def _long(found: Found) -> str:
    rows = [("prompts", "model", "number", "value", "low", "high", "count", "failed", "protocol", "note")]
    rows += [(evaluation.request.prompts.name, result.model, column.name, *number.interval, number.prompts, number.failed, column.protocol, number.note)
             for evaluation, results in found for result in results for column, number in result.numbers.items()]
    return _csv(rows)


def _by_prompt(found: Found) -> str:
    rows = [("prompts", "model", "number", "prompt", "value")]
    rows += [(evaluation.request.prompts.name, result.model, column.name, text, value) for evaluation, results in found for result in results
             for column, number in result.numbers.items() for text, value in number.by_prompt.items()]
    return _csv(rows)


def _csv(rows: list[tuple]) -> str:
    file = io.StringIO()
    csv.writer(file).writerows([guarded(str("" if value != value else value)) for value in row] for row in rows)
    return file.getvalue()


STYLE = ("body{max-width:1200px;margin:auto;padding:0 16px 48px;font:14px/1.45 system-ui,sans-serif;color:#1c2430}table{border-collapse:collapse;"
         "display:block;overflow-x:auto}th,td{padding:4px 10px;border-bottom:1px solid #dfe3ea;text-align:right;white-space:nowrap;"
         "font-variant-numeric:tabular-nums}th:first-child{text-align:left}th[colspan]{text-align:center}thead th{vertical-align:bottom;color:#5c6675;font-weight:600}p{color:#5c6675}")


def _page(found: Found, tables: list[Table], told: list[list[str]]) -> str:
    figures = [figure for one in found for figure in figures_of(*one).values()]
    drawn = [figure.to_html(full_html=False, include_plotlyjs=n == 0) for n, figure in enumerate(figures)]
    protocol = "".join("<ul>" + "".join(f"<li>{escape(line)}</li>" for line in lines) + "</ul>" for lines in told)
    return (f'<!doctype html><html lang="en"><meta charset="utf-8"><title>Evaluation</title><style>{STYLE}</style><body><h1>Evaluation</h1>'
            f"{''.join(table.html for table in tables)}{''.join(drawn)}<h3>Protocol</h3>{protocol}</body></html>")
