"""Evaluations as tables: every number, differences to the teacher, and the paper's tables with
ours beside the paper's.

In the layout of Tables 1 to 4 a prompt list is a group of columns, so several evaluations (one a
list) are one table. The paper's rows stand there where teacher and list are the paper's; nowhere
else would the comparison mean anything.
"""

from __future__ import annotations

import functools
import json
import math
import operator
from pathlib import Path

import numpy as np

from workbench.core.paper_tables import (
    GROUPS,
    LIST_TITLES,
    OURS,
    TABLE_1,
    TABLE_2,
    TABLE_3,
    TABLE_4,
    TABLE_5,
    TASK_TITLES,
    PaperRow,
)
from workbench.core.recipe import same_teacher
from workbench.evaluation.evaluation import Evaluation
from workbench.evaluation.figures import columns_of
from workbench.evaluation.numbers import Column, Number
from workbench.evaluation.results import ModelResult
from workbench.io.notation import TEACHER, model_title
from workbench.io.tables import Table
from workbench.metrics.diversity import bootstrap_interval
from workbench.models.sampling import OFFICIAL

LABELS = {
    "dmd": "DMD",
    "dmd_lpips": "DMD-LPIPS",
    "dmd_gan": "DMD-GAN",
    "dp_dmd": "DP-DMD",
    "dp_dmd_no_stop": "DP-DMD, no stop",
}
IMAGE_FREE = {
    "dmd": True,
    "dmd_lpips": False,
    "dmd_gan": False,
    "dp_dmd": True,
    "dp_dmd_no_stop": True,
}
TABLES = (
    "numbers-by-model",
    "differences",
    "factor-spread",
    *(f"table-{number}" for number in range(1, 6)),
)  # as their files are called
Evaluated = list[tuple[Evaluation, list[ModelResult]]]


def number_table(evaluation: Evaluation, results: list[ModelResult]) -> Table:
    """A row a model, a column a number, with 95 % intervals over prompts."""
    columns, asked = columns_of(results), evaluation.request
    titles, count = _titles(columns), len(asked.prompts.prompts)
    heads = ["model", "NFE", "ms / image", *titles.values()]
    rows = [
        (
            model_title(result.model),
            str(result.images.evaluations),
            _plain(result.images.milliseconds, 1),
            *(_cell(result.numbers.get(column), column.digits, count) for column in columns),
        )
        for result in results
    ]
    title = (
        f"{len(asked.prompts.prompts)} prompts of {asked.prompts.name}, {len(asked.seeds)} seeds"
    )
    return Table(
        "numbers-by-model",
        title,
        tuple(("", head) for head in heads),
        tuple(rows),
        tuple(_protocols(titles)),
    )


def difference_table(evaluation: Evaluation, results: list[ModelResult]) -> list[Table]:
    """Each student's number less the teacher's on the same prompts, with the interval of these
    differences: far narrower than those of the two numbers, for a prompt that is diverse for one
    is so for the other.
    """
    teacher, count = (
        next((result for result in results if _teacher(result)), None),
        len(evaluation.request.prompts.prompts),
    )
    columns = [
        column
        for column in columns_of(results)
        if teacher
        and column in teacher.numbers
        and teacher.numbers[column].by_prompt
        and column.name != "correct"
    ]  # which is a mean of tasks, not of prompts
    rows = []
    for result in results:
        cells = [
            _cell(
                _difference(result.numbers.get(column), teacher.numbers[column]),
                column.digits,
                count,
            )
            for column in columns
        ]
        if result is not teacher and any(cells):
            rows.append((model_title(result.model), *cells))
    if not rows:
        return []
    heads = (("", "model"), *(("", title) for title in _titles(columns).values()))
    return [Table("differences", "Less the teacher, prompt by prompt", heads, tuple(rows))]


def _difference(own: Number | None, teacher: Number) -> Number | None:
    """Over the prompts that both have a number of; None where there are none."""
    both = [text for text in teacher.by_prompt if own and text in own.by_prompt]
    if not both:
        return None
    return Number(
        bootstrap_interval(
            np.array([own.by_prompt[text] - teacher.by_prompt[text] for text in both])
        ),
        len(both),
    )


def part_table(evaluation: Evaluation, results: list[ModelResult]) -> list[Table]:
    """Factor spread, factor by factor, where it was measured."""
    columns = dict.fromkeys(
        column
        for result in results
        for column in result.numbers
        if column.name.startswith("spread of ")
    )
    if not columns:
        return []
    rows = [
        (
            model_title(result.model),
            *(_cell(result.numbers.get(column), column.digits) for column in columns),
        )
        for result in results
    ]
    heads = ("model", *(column.name.removeprefix("spread of ") for column in columns))
    return [
        Table(
            "factor-spread",
            "Factor spread over that of the data, by factor",
            tuple(("", head) for head in heads),
            tuple(rows),
        )
    ]


def paper_layouts(found: Evaluated) -> list[Table]:
    """Those of the paper's tables that one of the models has a row in."""
    results = [result for _, part in found for result in part]
    students = [result for result in results if result.model != TEACHER]
    tables = []
    if any(_method(result) in LABELS for result in students):
        tables.append(
            _scores(
                "table-1",
                "Table 1: variants of DMD",
                TABLE_1,
                found,
                lambda result: (
                    _label(result) if _method(result) in LABELS or _teacher(result) else ""
                ),
            )
        )
    if any(_label(result) in ("Hyper-SD", "Flash", "TDM") for result in students):
        tables.append(_scores("table-2", "Table 2: few-step methods", TABLE_2, found, _label))
    varied = [result for result in students if _method(result) == "dp_dmd"]
    for name, title, paper, key, written in (
        ("table-3", "Table 3: the anchor step K", TABLE_3, "k", "K = {:g}"),
        ("table-4", "Table 4: the weight lambda", TABLE_4, "lam", "λ = {:g}"),
    ):
        if len({result.images.settings[key] for result in varied}) > 1:
            tables.append(
                _scores(
                    name,
                    title,
                    paper,
                    found,
                    lambda r, key=key, written=written: _varied(r, key, written),
                )
            )
    if any(column.name == "correct" for result in results for column in result.numbers):
        tables.append(_geneval(found))
    return tables


def _scores(
    name: str, title: str, paper: dict[str, tuple[PaperRow, ...]], found: Evaluated, label
) -> Table:
    """The layout of Tables 1 to 4. `label` says which row a result is, "" for none."""
    groups = [_group(results) for _, results in found]
    columns = [("", "method"), ("", "image-free"), ("", "NFEs")]
    columns += [
        (f"{_list_title(evaluation)}, {group}", short)
        for (evaluation, _), part in zip(found, groups)
        for group, short, _ in part
    ]
    rows = []
    for teacher in dict.fromkeys(evaluation.request.teacher for evaluation, _ in found):
        for row in _paper_rows(paper, teacher, found):
            cells = [
                _paper_cells(row, evaluation, part) for (evaluation, _), part in zip(found, groups)
            ]
            rows.append(
                (
                    f"{row.label} (paper)",
                    _mark(row.image_free),
                    str(row.evaluations or ""),
                    *functools.reduce(operator.iadd, cells, []),
                )
            )
        rows += _our_rows(teacher, found, groups, label)
    return Table(name, title, tuple(columns), tuple(rows), _comparable(paper, found))


def _our_rows(teacher: str, found: Evaluated, groups: list, label) -> list[tuple[str, ...]]:
    models: dict[
        tuple[str, str], list[ModelResult | None]
    ] = {}  # by name and by how it was sampled: a name may mean something else elsewhere
    for place, (evaluation, results) in enumerate(found):
        for result in results:
            if evaluation.request.teacher == teacher and label(result):
                sampled = json.dumps(
                    {key: value for key, value in result.images.settings.items() if key != "noise"},
                    sort_keys=True,
                )
                models.setdefault((result.model, sampled), [None] * len(found))[place] = result
    rows = []
    for (model, _), places in models.items():
        one = next(result for result in places if result)
        cells = [_our_cells(result, part) for result, part in zip(places, groups)]
        shown = (
            label(one)
            if label(one) == model_title(model)
            else f"{label(one)}: {model_title(model)}"
        )
        rows.append(
            (
                shown if not _teacher(one) else f"Base Model: {teacher}",
                _mark(IMAGE_FREE.get(_method(one))),
                str(one.images.evaluations),
                *functools.reduce(operator.iadd, cells, []),
            )
        )
    return rows


def _geneval(found: Evaluated) -> Table:
    rows = []
    for evaluation, results in found:
        teacher = evaluation.request.teacher
        rows += [
            (
                f"{row.label} (paper)",
                *(f"{value:.2f}" for value in row.numbers["geneval"]),
                "GenEval",
                "",
            )
            for row in _paper_rows(TABLE_5, teacher, [(evaluation, results)])
        ]
        for result in results:
            shown = f"Base Model: {teacher}" if _teacher(result) else model_title(result.model)
            for protocol in dict.fromkeys(
                column.protocol for column in result.numbers if column.name == "correct"
            ):
                numbers = {
                    column.name: number
                    for column, number in result.numbers.items()
                    if column.protocol == protocol
                }
                shares = (
                    _plain(numbers[task].interval.mean, 2) if task in numbers else ""
                    for task in TASK_TITLES
                )
                rows.append((shown, *shares, _list_title(evaluation), protocol))
    heads = tuple(("", head) for head in ("method", *TASK_TITLES.values(), "prompts", "judged by"))
    return Table(
        "table-5",
        "Table 5: prompt following, GenEval's six tasks",
        heads,
        tuple(rows),
        _comparable(TABLE_5, found),
    )


def _paper_rows(
    paper: dict[str, tuple[PaperRow, ...]], teacher: str, found: Evaluated
) -> tuple[PaperRow, ...]:
    """The paper's rows of a teacher, where one of the lists is one of the paper's."""
    lists = {
        evaluation.request.prompts.name
        for evaluation, _ in found
        if evaluation.request.teacher == teacher
    }
    rows = next((rows for source, rows in paper.items() if same_teacher(source, teacher)), ())
    return tuple(row for row in rows if lists & set(row.numbers))


def _paper_cells(row: PaperRow, evaluation: Evaluation, part: list) -> list[str]:
    printed = dict(zip(OURS, row.numbers.get(evaluation.request.prompts.name, ())))
    return [
        (f"{printed[short]:.2f}" if short == "PicS" else f"{printed[short]:.3f}")
        if short in printed
        else ""
        for _, short, _ in part
    ]


def _our_cells(result: ModelResult | None, part: list) -> list[str]:
    numbers = result.numbers if result else {}
    return [
        _plain(numbers[column].interval.mean, 2 if short == "PicS" else column.digits)
        if column in numbers
        else ""
        for _, short, column in part
    ]


def _group(results: list[ModelResult]) -> list[tuple[str, str, Column | None]]:
    """(group, heading, column): the paper's columns, None for one that was not run, and beside
    them what the paper does not have.
    """
    kinds = {
        "diversity": "Diversity",
        "vendi": "Diversity",
        "factor": "Diversity",
        "recall": "Diversity",
        "coverage": "Diversity",
        "maniqa-pyiqa": "Quality",
        "pickscore-26": "Preference",
        "clipscore": "Prompt following",
        "correct": "Prompt following",
    }
    columns, found = columns_of(results), []
    for group in dict.fromkeys([*GROUPS, *kinds.values()]):
        for short in GROUPS.get(group, ()):
            ours = [column for column in columns if column.name == OURS[short]]
            # two protocols of one name never share a column
            found += [
                (group, short, ours[0] if ours else None),
                *((group, f"{short} ({column.protocol})", column) for column in ours[1:]),
            ]
        found += [
            (group, column.name.removeprefix("diversity "), column)
            for column in columns
            if column.name not in OURS.values() and kinds.get(column.name.split(" ")[0]) == group
        ]
    return found


def _comparable(paper: dict, found: Evaluated) -> tuple[str, ...]:
    """What is to be said about the comparison."""
    if not any(
        _paper_rows(paper, evaluation.request.teacher, [(evaluation, [])])
        for evaluation, _ in found
    ):
        return (
            "Not comparable with the paper's numbers, which are of other teachers and prompts and "
            "therefore left out.",
        )
    asked, notes = [evaluation.request for evaluation, _ in found], []
    for one in asked:
        if one.prompts.limited_to or one.prompts.dropped:
            left_out = f"without {one.prompts.summary}" if one.prompts.dropped else "the first of them"
            notes.append(
                "The paper's rows are of whole prompt lists; ours are of "
                f"{len(one.prompts.prompts)} prompts of {one.prompts.name}, "
                f"{left_out}."
            )
    if paper is TABLE_5:
        return (
            *notes,
            *(
                f"GenEval makes 4 images a prompt; ours are {len(one.seeds)}."
                for one in asked
                if len(one.seeds) != 4
            ),
        )
    if any(len(one.seeds) != 9 or one.noise != OFFICIAL for one in asked):
        notes.append(
            "The paper's rows have 9 seeds and the noise policy official; ours differ in that."
        )
    return tuple(notes)


def _method(result: ModelResult) -> str:
    return str(result.images.settings.get("method") or "")


def _teacher(result: ModelResult) -> bool:
    return result.model == TEACHER


def _label(result: ModelResult) -> str:
    """The row of Tables 1 and 2 that a model is."""
    if _teacher(result):
        return "Base Model"
    title = LABELS.get(_method(result), _method(result))
    return next((name for name in ("Hyper-SD", "Flash", "TDM") if title.startswith(name)), title)


def _varied(result: ModelResult, key: str, written: str) -> str:
    if _method(result) == "dp_dmd":
        return written.format(result.images.settings[key])
    return "DMD" if _method(result) == "dmd" else ""


def _list_title(evaluation: Evaluation) -> str:
    name = evaluation.request.prompts.name
    return LIST_TITLES.get(name, Path(name).name)


def _mark(flag: bool | None) -> str:
    return {True: "yes", False: "no", None: ""}[flag]


def _plain(value: float | None, digits: int) -> str:
    return "" if value is None or math.isnan(value) else f"{value:.{digits}f}"


def _cell(number: Number | None, digits: int, prompts: int = 0) -> str:
    """The value and its interval, and how many of the `prompts` it is of where not of all."""
    if number is None:
        return ""
    mean, low, high = number.interval
    interval = "" if math.isnan(low) else f" [{low:.{digits}f}, {high:.{digits}f}]"
    return f"{_plain(mean, digits)}{interval}{f' ({number.prompts} of {prompts} prompts)' if number.prompts < prompts else ''}"


def _titles(columns: list[Column]) -> dict[Column, str]:
    """A heading for each column; of one name, but two protocols, the later ones are numbered."""
    names = [column.name for column in columns]
    again = [names[:place].count(name) for place, name in enumerate(names)]
    return {
        column: f"{column.title} ({count + 1})" if count else column.title
        for column, count in zip(columns, again)
    }


def _protocols(titles: dict[Column, str]) -> list[str]:
    by: dict[str, list[str]] = {}
    for column, title in titles.items():
        by.setdefault(column.protocol, []).append(
            title.translate({ord(arrow): "" for arrow in "↑↓"}).replace("  ", " ").strip()
        )
    return [f"{', '.join(names)}: {protocol}." for protocol, names in by.items()]
