"""Evaluations as tables: every number, differences to the teacher, and the paper's tables with
ours beside the paper's.

In the layout of Tables 1 to 4 a prompt list is a group of columns, so several evaluations (one per
list) are one table. The paper's rows are included only if teacher and list are the paper's:
otherwise the comparison would mean nothing.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from itertools import chain
from pathlib import Path

import numpy as np

from workbench.core.methods import METHODS, method_title
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
from workbench.io.strict_json import to_json
from workbench.io.tables import Table, interval_text, number_text
from workbench.metrics.diversity import mean_interval
from workbench.models.sampling import OFFICIAL

TABLES = (
    "numbers-by-model",
    "differences",
    "factor-spread",
    *(f"table-{number}" for number in range(1, 6)),
)  # the names of their files
BESIDE_THE_PAPER = {  # groups of numbers that the paper does not have, by the first word
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
Evaluated = list[tuple[Evaluation, list[ModelResult]]]
Labels = Callable[[ModelResult], str]  # the row of a result, "" for none


@dataclass(frozen=True)
class PaperColumn:
    """A column in the layout of Tables 1 to 4."""

    group: str
    name: str
    column: Column | None  # of ours, None if it was not measured
    digits: int


def number_table(evaluation: Evaluation, results: list[ModelResult]) -> Table:
    """A row per model, a column per number, with 95 % intervals over prompts."""
    columns, request = columns_of(results), evaluation.request
    titles, count = _titles(columns), len(request.prompts.prompts)
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
    title = f"{count} prompts of {request.prompts.name}, {len(request.seeds)} seeds"
    return Table(
        "numbers-by-model",
        title,
        tuple(("", head) for head in heads),
        tuple(rows),
        tuple(_protocols(titles)),
    )


def difference_table(evaluation: Evaluation, results: list[ModelResult]) -> list[Table]:
    """Each student's number less the teacher's on the same prompts, with the interval of these
    differences: far narrower than those of the two numbers, since a prompt that is diverse for one
    is so for the other.
    """
    teacher = next((result for result in results if _teacher(result)), None)
    if teacher is None:
        return []
    columns = [
        column
        for column in columns_of(results)
        if column in teacher.numbers
        and teacher.numbers[column].by_prompt
        and column.name != "correct"  # a mean of tasks, not of prompts
    ]
    count, rows = len(evaluation.request.prompts.prompts), []
    for result in results:
        differences = (
            _difference(result.numbers.get(column), teacher.numbers[column]) for column in columns
        )
        cells = [
            _cell(number, column.digits, count) for number, column in zip(differences, columns)
        ]
        if result is not teacher and any(cells):
            rows.append((model_title(result.model), *cells))
    if not rows:
        return []
    heads = (("", "model"), *(("", title) for title in _titles(columns).values()))
    return [Table("differences", "Less the teacher, prompt by prompt", heads, tuple(rows))]


def _difference(own: Number | None, teacher: Number) -> Number | None:
    """Over the prompts that both have a number of; None if there are none."""
    both = [text for text in teacher.by_prompt if own and text in own.by_prompt]
    if not both:
        return None
    differences = np.array([own.by_prompt[text] - teacher.by_prompt[text] for text in both])
    return Number(mean_interval(differences), len(both))


def part_table(evaluation: Evaluation, results: list[ModelResult]) -> list[Table]:
    """Factor spread by factor, if it was measured."""
    numbers = dict.fromkeys(chain.from_iterable(result.numbers for result in results))
    columns = [column for column in numbers if column.name.startswith("spread of ")]
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


def paper_layouts(evaluated: Evaluated) -> list[Table]:
    """Those of the paper's tables that one of the models has a row in."""
    results = [result for _, results in evaluated for result in results]
    students = [result for result in results if result.model != TEACHER]
    tables = []
    if any(_method(result) in METHODS for result in students):
        tables.append(_scores("table-1", "Table 1: variants of DMD", TABLE_1, evaluated, _variant))
    if any(_label(result) in ("Hyper-SD", "Flash", "TDM") for result in students):
        tables.append(_scores("table-2", "Table 2: few-step methods", TABLE_2, evaluated, _label))
    varied = [result for result in students if _method(result) == "dp_dmd"]
    for name, title, paper, key, template in (
        ("table-3", "Table 3: the anchor step K", TABLE_3, "k", "K = {:g}"),
        ("table-4", "Table 4: the weight lambda", TABLE_4, "lam", "λ = {:g}"),
    ):
        if len({result.images.settings[key] for result in varied}) > 1:
            tables.append(_scores(name, title, paper, evaluated, _varied(key, template)))
    if any(column.name == "correct" for result in results for column in result.numbers):
        tables.append(_geneval(evaluated))
    return tables


def _scores(
    name: str,
    title: str,
    paper: dict[str, tuple[PaperRow, ...]],
    evaluated: Evaluated,
    label: Labels,
) -> Table:
    """The layout of Tables 1 to 4."""
    layouts = [_paper_columns(results) for _, results in evaluated]
    columns = [("", "method"), ("", "image-free"), ("", "NFEs")]
    columns += [
        (f"{_list_title(evaluation)}, {column.group}", column.name)
        for (evaluation, _), layout in zip(evaluated, layouts)
        for column in layout
    ]
    rows = []
    for teacher in dict.fromkeys(evaluation.request.teacher for evaluation, _ in evaluated):
        for row in _paper_rows(paper, teacher, evaluated):
            cells = (
                _paper_cells(row, evaluation, layout)
                for (evaluation, _), layout in zip(evaluated, layouts)
            )
            rows.append(
                (
                    f"{row.label} (paper)",
                    _mark(row.image_free),
                    str(row.evaluations or ""),
                    *chain.from_iterable(cells),
                )
            )
        rows += _our_rows(teacher, evaluated, layouts, label)
    return Table(name, title, tuple(columns), tuple(rows), _comparable(paper, evaluated))


def _our_rows(
    teacher: str, evaluated: Evaluated, layouts: list[list[PaperColumn]], label: Labels
) -> list[tuple[str, ...]]:
    """A row per model, with its result in each evaluation."""
    # by name and by how it was sampled: a name may mean another model elsewhere
    models: dict[tuple[str, str], list[ModelResult | None]] = {}
    for index, (evaluation, results) in enumerate(evaluated):
        for result in results:
            if evaluation.request.teacher == teacher and label(result):
                settings = {k: v for k, v in result.images.settings.items() if k != "noise"}
                key = result.model, to_json(settings, sort_keys=True)
                models.setdefault(key, [None] * len(evaluated))[index] = result
    rows = []
    for (model, _), own in models.items():
        first = next(result for result in own if result)
        title, row = model_title(model), label(first)
        if _teacher(first):
            row = f"Base Model: {teacher}"
        elif row != title:
            row = f"{row}: {title}"
        cells = (_our_cells(result, layout) for result, layout in zip(own, layouts))
        rows.append(
            (
                row,
                _mark(METHODS[_method(first)].image_free if _method(first) in METHODS else None),
                str(first.images.evaluations),
                *chain.from_iterable(cells),
            )
        )
    return rows


def _geneval(evaluated: Evaluated) -> Table:
    rows = []
    for evaluation, results in evaluated:
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
            title = f"Base Model: {teacher}" if _teacher(result) else model_title(result.model)
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
                rows.append((title, *shares, _list_title(evaluation), protocol))
    heads = tuple(("", head) for head in ("method", *TASK_TITLES.values(), "prompts", "judged by"))
    return Table(
        "table-5",
        "Table 5: prompt following, GenEval's six tasks",
        heads,
        tuple(rows),
        _comparable(TABLE_5, evaluated),
    )


def _paper_rows(
    paper: dict[str, tuple[PaperRow, ...]], teacher: str, evaluated: Evaluated
) -> tuple[PaperRow, ...]:
    """The paper's rows of a teacher, if one of the lists is one of the paper's."""
    lists = {
        evaluation.request.prompts.name
        for evaluation, _ in evaluated
        if evaluation.request.teacher == teacher
    }
    rows = next((rows for source, rows in paper.items() if same_teacher(source, teacher)), ())
    return tuple(row for row in rows if lists & set(row.numbers))


def _paper_cells(row: PaperRow, evaluation: Evaluation, layout: list[PaperColumn]) -> list[str]:
    printed = dict(zip(OURS, row.numbers.get(evaluation.request.prompts.name, ())))
    return [
        f"{printed[column.name]:.{2 if column.name == 'PicS' else 3}f}"
        if column.name in printed
        else ""
        for column in layout
    ]


def _our_cells(result: ModelResult | None, layout: list[PaperColumn]) -> list[str]:
    numbers = result.numbers if result else {}
    return [
        _plain(numbers[column.column].interval.mean, column.digits)
        if column.column in numbers
        else ""
        for column in layout
    ]


def _paper_columns(results: list[ModelResult]) -> list[PaperColumn]:
    """The paper's columns, and in each group the numbers that the paper does not have."""
    columns, layout = columns_of(results), []
    for group in dict.fromkeys([*GROUPS, *BESIDE_THE_PAPER.values()]):
        for name in GROUPS.get(group, ()):
            ours = [column for column in columns if column.name == OURS[name]]
            first = ours[0] if ours else None
            digits = 2 if name == "PicS" else first.digits if first else 3
            layout.append(PaperColumn(group, name, first, digits))
            layout += [  # two protocols of one name never share a column
                PaperColumn(group, f"{name} ({column.protocol})", column, column.digits)
                for column in ours[1:]
            ]
        layout += [
            PaperColumn(group, column.name.removeprefix("diversity "), column, column.digits)
            for column in columns
            if column.name not in OURS.values()
            and BESIDE_THE_PAPER.get(column.name.split(" ")[0]) == group
        ]
    return layout


def _comparable(paper: dict, evaluated: Evaluated) -> tuple[str, ...]:
    """Notes on how our rows compare with the paper's."""
    if not any(
        _paper_rows(paper, evaluation.request.teacher, [(evaluation, [])])
        for evaluation, _ in evaluated
    ):
        return (
            "Not comparable with the paper's numbers, which are of other teachers and prompts and "
            "therefore left out.",
        )
    requests, notes = [evaluation.request for evaluation, _ in evaluated], []
    for request in requests:
        prompts = request.prompts
        if prompts.limited_to or prompts.dropped:
            left_out = f"without {prompts.summary}" if prompts.dropped else "the first of them"
            notes.append(
                "The paper's rows are of whole prompt lists; ours are of "
                f"{len(prompts.prompts)} prompts of {prompts.name}, {left_out}."
            )
    if paper is TABLE_5:
        return (
            *notes,
            *(
                f"GenEval makes 4 images per prompt; ours are {len(request.seeds)}."
                for request in requests
                if len(request.seeds) != 4
            ),
        )
    if any(len(request.seeds) != 9 or request.noise != OFFICIAL for request in requests):
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
    title = method_title(_method(result))
    return next((name for name in ("Hyper-SD", "Flash", "TDM") if title.startswith(name)), title)


def _variant(result: ModelResult) -> str:
    """The row of Table 1."""
    return _label(result) if _method(result) in METHODS or _teacher(result) else ""


def _varied(key: str, template: str) -> Labels:
    """The row of Tables 3 and 4, by a setting of DP-DMD."""

    def label(result: ModelResult) -> str:
        if _method(result) == "dp_dmd":
            return template.format(result.images.settings[key])
        return "DMD" if _method(result) == "dmd" else ""

    return label


def _list_title(evaluation: Evaluation) -> str:
    name = evaluation.request.prompts.name
    return LIST_TITLES.get(name, Path(name).name)


def _mark(flag: bool | None) -> str:
    return {True: "yes", False: "no", None: ""}[flag]


def _plain(value: float | None, digits: int) -> str:
    return "" if value is None or math.isnan(value) else number_text(value, digits)


def _cell(number: Number | None, digits: int, prompts: int = 0) -> str:
    """The value and its interval, and the number of prompts if not all `prompts` have one."""
    if number is None:
        return ""
    share = f" ({number.prompts} of {prompts} prompts)" if number.prompts < prompts else ""
    return f"{interval_text(*number.interval, digits)}{share}"


def _titles(columns: list[Column]) -> dict[Column, str]:
    """A heading per column; a name's second and later protocols are numbered."""
    names = [column.name for column in columns]
    earlier = [names[:index].count(name) for index, name in enumerate(names)]
    return {
        column: f"{column.title} ({count + 1})" if count else column.title
        for column, count in zip(columns, earlier)
    }


def _protocols(titles: dict[Column, str]) -> list[str]:
    by: dict[str, list[str]] = {}
    for column, title in titles.items():
        by.setdefault(column.protocol, []).append(
            title.translate({ord(arrow): "" for arrow in "↑↓"}).replace("  ", " ").strip()
        )
    return [f"{', '.join(names)}: {protocol}." for protocol, names in by.items()]
