"""Tables in the paper's layout, ours beside the paper's only where that means something; and the
report's files.
"""

import csv
import dataclasses
import io

import pytest

from tests.support.evaluations import asked, done
from workbench.core.paper_tables import (
    GROUPS,
    OURS,
    TABLE_1,
    TABLE_2,
    TABLE_3,
    TABLE_4,
    TABLE_5,
    TASK_TITLES,
)
from workbench.core.presets import SD35
from workbench.evaluation.evaluation import Evaluation
from workbench.evaluation.images import ModelImages
from workbench.evaluation.numbers import Column, Number
from workbench.evaluation.prompt_lists import Prompt, PromptList
from workbench.evaluation.report import evaluation_figures, provenance, write_evaluation_report
from workbench.evaluation.request import EvaluationRequest, EvaluationStage, EvaluationTask
from workbench.evaluation.results import ModelResult
from workbench.evaluation.tables import difference_table, number_table, paper_layouts
from workbench.io.tables import Table
from workbench.metrics.diversity import Interval
from workbench.models.sampling import OFFICIAL

DINO, PICS = (
    Column("diversity dinov3", "dinov3 facebook/x@1234567"),
    Column("pickscore", "pickscore y@7654321"),
)
LITE = Column("diversity lite0", "lite0@224")


def result(model: str, method: str, numbers: dict, **settings) -> ModelResult:
    made = (
        dict(
            steps=4,
            sampler="ode",
            guidance=1.0,
            weights="abc",
            digest="def",
            method=method,
            k=5,
            lam=0.05,
        )
        | settings
    )
    return ModelResult(
        model,
        ModelImages(f"{model}-1", made, 4, 12.34),
        {column: Number(Interval(*values), 3) for column, values in numbers.items()},
    )


def evaluation(
    tmp_path, teacher: str = SD35, prompts: str = "pick-a-pic", **settings
) -> Evaluation:
    texts = PromptList(prompts, (Prompt("a fox"), Prompt("a hill"), Prompt("a cat")), {"sexual": 2})
    return Evaluation(
        tmp_path,
        EvaluationRequest(("teacher",), texts, teacher=teacher, noise=OFFICIAL, **settings),
        about={
            "device": "cuda",
            "generator": "cpu",
            "revision": "f" * 40,
            "latent_shape": [16, 128, 128],
        },
    )


def rows(table: Table) -> list[dict]:
    return list(csv.DictReader(io.StringIO(table.csv)))


def test_ours_stands_beside_the_papers_and_what_was_not_run_is_blank(tmp_path):
    ours = [
        result("teacher", None, {DINO: (0.25, 0.2, 0.3), PICS: (21.5, 21, 22)}),
        result("mine", "dp_dmd", {DINO: (0.18, 0.1, 0.2)}),
    ]
    (table,) = paper_layouts([(evaluation(tmp_path), ours)])
    assert table.title.startswith("Table 1")
    assert len(table.notes) == 1
    assert "ours are of 3 prompts of pick-a-pic, without 2 sexual" in table.notes[0]
    printed = {row["method"]: row for row in rows(table)}
    assert list(printed)[:5] == [f"{row.label} (paper)" for row in TABLE_1[SD35]]
    assert printed["DMD-GAN (paper)"]["Pick-a-Pic, Preference: PicS"] == "21.63"
    assert printed["DMD-GAN (paper)"]["image-free"] == "no"
    ours = printed["DP-DMD: mine"]
    assert ours["Pick-a-Pic, Diversity: DINO"] == "0.180"
    assert ours["Pick-a-Pic, Quality: VQ-R1"] == ""
    assert ours["image-free"] == "yes"
    assert printed[f"Base Model: {SD35}"]["Pick-a-Pic, Preference: PicS"] == "21.50"


def test_another_teacher_or_list_is_not_compared(tmp_path):
    one = [result("dmd", "dmd", {LITE: (0.1, 0.05, 0.2)})]
    for other in (evaluation(tmp_path, teacher="scenes"), evaluation(tmp_path, prompts="mine.txt")):
        (table,) = paper_layouts([(other, one)])
        assert len(table.rows) == 1
        assert "Not comparable" in table.notes[0]
        assert "DINO" in table.markdown
    part = evaluation(tmp_path, seeds=(0, 1))
    part.request = dataclasses.replace(
        part.request, prompts=dataclasses.replace(part.request.prompts, limited_to=3)
    )
    (table,) = paper_layouts([(part, one)])
    assert (
        "whole prompt lists; ours are of 3 prompts of pick-a-pic, without 2 sexual"
        in table.notes[0]
    )
    assert "9 seeds and the noise policy official; ours differ" in table.notes[1]


def test_lite0_is_never_called_dino_and_other_protocols_have_columns_of_their_own(tmp_path):
    numbers = {
        LITE: (0.1, 0.05, 0.2),
        Column("pickscore-26", "y / 26"): (0.8, 0.7, 0.9),
        Column("maniqa-pyiqa", "z"): (0.4, 0.3, 0.5),
    }
    (table,) = paper_layouts([(evaluation(tmp_path), [result("dmd", "dmd", numbers)])])
    ours = rows(table)[-1]
    assert [
        ours[f"Pick-a-Pic, {group}: {name}"]
        for group, name in (("Diversity", "DINO"), ("Quality", "MIQA"), ("Preference", "PicS"))
    ] == [""] * 3
    assert ours["Pick-a-Pic, Diversity: lite0"] == "0.100"
    assert ours["Pick-a-Pic, Preference: pickscore-26"] == "0.800"
    assert ours["Pick-a-Pic, Quality: maniqa-pyiqa"] == "0.400"
    other = DINO._replace(protocol="dinov3 elsewhere")
    one = [
        result("dmd", "dmd", {DINO: (0.1, 0.05, 0.2)}),
        result("dp-dmd", "dp_dmd", {other: (0.2, 0.1, 0.3)}),
    ]
    (table,) = paper_layouts([(evaluation(tmp_path), one)])
    first, second = rows(table)[-2:]
    assert (first["Pick-a-Pic, Diversity: DINO"], second["Pick-a-Pic, Diversity: DINO"]) == (
        "0.100",
        "",
    )
    assert second["Pick-a-Pic, Diversity: DINO (dinov3 elsewhere)"] == "0.200"


def test_two_prompt_lists_are_two_groups_of_one_table(tmp_path):
    pick = (
        evaluation(tmp_path),
        [
            result("dmd", "dmd", {DINO: (0.13, 0.1, 0.2)}),
            result("only", "dmd", {DINO: (0.11, 0.1, 0.2)}),
        ],
    )
    coco = (
        evaluation(tmp_path, prompts="coco-10k"),
        [result("dmd", "dmd", {DINO: (0.21, 0.1, 0.3)})],
    )
    (table,) = paper_layouts([pick, coco])
    printed = {row["method"]: row for row in rows(table)}
    assert (
        printed["DMD"]["Pick-a-Pic, Diversity: DINO"],
        printed["DMD"]["COCO-10K 2014, Diversity: DINO"],
    ) == ("0.130", "0.210")
    assert (
        printed["DMD: only"]["Pick-a-Pic, Diversity: DINO"],
        printed["DMD: only"]["COCO-10K 2014, Diversity: DINO"],
    ) == ("0.110", "")
    assert printed["DP-DMD (paper)"]["COCO-10K 2014, Diversity: DINO"] == "0.250"


def test_a_name_that_means_another_model_elsewhere_is_a_row_of_its_own(tmp_path):
    pick = (
        evaluation(tmp_path),
        [result("runs/x", "dp_dmd", {DINO: (0.13, 0.1, 0.2)}, weights="one")],
    )
    coco = (
        evaluation(tmp_path, prompts="coco-10k"),
        [result("runs/x", "dp_dmd", {DINO: (0.21, 0.1, 0.3)}, weights="two")],
    )
    (table,) = paper_layouts([pick, coco])
    first, second = rows(table)[-2:]
    assert (first["Pick-a-Pic, Diversity: DINO"], first["COCO-10K 2014, Diversity: DINO"]) == (
        "0.130",
        "",
    )
    assert (second["Pick-a-Pic, Diversity: DINO"], second["COCO-10K 2014, Diversity: DINO"]) == (
        "",
        "0.210",
    )


def test_what_a_number_is_of_is_said_where_it_is_not_all(tmp_path):
    part = dataclasses.replace(
        result("dmd", "dmd", {}), numbers={DINO: Number(Interval(0.1, 0.05, 0.2), 2)}
    )
    other = result("dp-dmd", "dp_dmd", {DINO._replace(protocol="elsewhere"): (0.2, 0.1, 0.3)})
    table = number_table(evaluation(tmp_path), [part, other])
    assert rows(table)[0]["diversity dinov3 ↑"] == "0.100 [0.050, 0.200] (2 of 3 prompts)"
    assert rows(table)[1]["diversity dinov3 ↑ (2)"] == "0.200 [0.100, 0.300]"
    assert table.notes == (
        "diversity dinov3: dinov3 facebook/x@1234567.",
        "diversity dinov3 (2): elsewhere.",
    )


def test_ablations_are_rows_by_k_and_by_lambda(tmp_path):
    one = [
        result("dmd", "dmd", {DINO: (0.13, 0.1, 0.2)}),
        *(result(f"k{k}", "dp_dmd", {DINO: (0.1 + k / 100, 0.1, 0.2)}, k=k) for k in (1, 10)),
        result("weak", "dp_dmd", {DINO: (0.15, 0.1, 0.2)}, k=1, lam=0.01),
    ]
    _, by_k, by_lam = paper_layouts([(evaluation(tmp_path), one)])
    printed = [f"{row.label} (paper)" for row in TABLE_3[SD35]]
    assert [row["method"] for row in rows(by_k)] == [
        *printed,
        "DMD",
        "K = 1: k1",
        "K = 10: k10",
        "K = 1: weak",
    ]
    assert rows(by_lam)[-1]["method"] == "λ = 0.01: weak"
    assert r"$\lambda$ = 0.01" in by_lam.latex
    assert len(rows(by_lam)) == len(TABLE_4[SD35]) + 4


def test_genevals_table_has_the_six_tasks(tmp_path):
    numbers = {
        Column(name, "geneval-hf", digits=2, part=name != "correct"): (0.5, 0.4, 0.6)
        for name in TASK_TITLES
    }
    table = paper_layouts(
        [(evaluation(tmp_path, prompts="geneval"), [result("teacher", None, numbers)])]
    )[-1]
    first, _, ours = rows(table)
    assert list(first.values()) == [
        "Base Model (paper)",
        "0.66",
        "0.98",
        "0.78",
        "0.64",
        "0.83",
        "0.18",
        "0.53",
        "GenEval",
        "",
    ]
    assert list(ours.values())[1:] == ["0.50"] * 7 + ["GenEval", "geneval-hf"]
    both = numbers | {
        column._replace(protocol="geneval-mmdet"): (0.7, 0.6, 0.8) for column in numbers
    }
    table = paper_layouts(
        [(evaluation(tmp_path, prompts="geneval"), [result("teacher", None, both)])]
    )[-1]
    assert [(row["Overall"], row["judged by"]) for row in rows(table)[-2:]] == [
        ("0.50", "geneval-hf"),
        ("0.70", "geneval-mmdet"),
    ]


def test_published_students_stand_in_table_2(tmp_path):
    teacher = "stabilityai/stable-diffusion-3-medium-diffusers"
    one = [result("flash-sd3", "Flash Diffusion", {DINO: (0.2, 0.1, 0.3)})]
    (table,) = paper_layouts([(evaluation(tmp_path, teacher=teacher), one)])
    assert [row["method"] for row in rows(table)] == [
        *(f"{row.label} (paper)" for row in TABLE_2[teacher]),
        "Flash: flash-sd3",
    ]


def test_every_printed_row_is_as_long_as_its_columns():
    for table in (TABLE_1, TABLE_2, TABLE_3, TABLE_4):
        for row in (row for rows in table.values() for row in rows):
            assert all(
                len(numbers) == len(OURS) == sum(map(len, GROUPS.values()))
                for numbers in row.numbers.values()
            ), row
    assert all(len(row.numbers["geneval"]) == len(TASK_TITLES) for row in TABLE_5[SD35])


def test_the_protocol_tells_what_a_reader_needs(tmp_path):
    one = evaluation(tmp_path)
    one.failures[EvaluationTask(EvaluationStage.READING, "pickscore")] = "the hub cannot be reached"
    failed = result("dmd", "dmd", {DINO: (0.1, 0.05, 0.2)})
    failed = dataclasses.replace(
        failed, numbers={DINO: Number(Interval(0.1, 0.05, 0.2), 2, failed=4, note="biased")}
    )
    told = "\n".join(provenance(one, [failed]))
    for part in (
        f"{SD35} at revision {'f' * 40}",
        "dropped: 2 sexual",
        "S = 9 seeds (0-8)",
        "noise policy official, drawn on the cpu",
        "DMD: method dmd, 4 steps (ode), guidance 1, None on None, weights abc, recipe def",
        "Images without a number: DMD, diversity dinov3: 4",
        "diversity dinov3 (DMD): biased",
        "Not done: pickscore: the hub cannot be reached",
    ):
        assert part in told, part
    assert "diversity dinov3: dinov3 facebook/x@1234567." in number_table(one, [failed]).notes


def test_differences_are_paired_over_the_prompts_that_both_have(tmp_path):
    def having(model, values):
        return dataclasses.replace(
            result(model, "dmd", {}), numbers={DINO: Number(Interval(0, 0, 0), 3, by_prompt=values)}
        )

    across = {f"prompt {n}": n / 10 for n in range(8)} | {"alone": 9.0}
    up = {
        text: value - 0.05 - 0.01 * (n % 2)
        for n, (text, value) in enumerate(across.items())
        if text != "alone"
    } | {"other": -9.0}
    (table,) = difference_table(
        evaluation(tmp_path),
        [having("teacher", across), having("dmd", up), having("none", {"other": 1.0})],
    )
    (row,) = rows(table)
    mean, low, high = (float(part.strip("[],")) for part in row["diversity dinov3 ↑"].split())
    assert row["model"] == "DMD"
    assert mean == -0.055
    assert -0.059 <= low < mean < high <= -0.051


@pytest.mark.parametrize(
    ("text", "written"),
    [
        ("=1+1", "'=1+1"),
        ("@x", "'@x"),
        ("-0.5", "-0.5"),
        ("a fox", "a fox"),
        ("-a", "'-a"),
        ("-0.11 [-0.16, 0.06]", "-0.11 [-0.16, 0.06]"),
        ("-1+2", "'-1+2"),
        ("-2e-05", "-2e-05"),
        ("-0.020 (1 of 5 prompts)", "-0.020 (1 of 5 prompts)"),
        ("-1.5e+20", "-1.5e+20"),
    ],
)
def test_spreadsheets_are_given_no_formulas(text, written):
    assert list(csv.reader(io.StringIO(Table("t", "T", (("", "a"),), ((text,),)).csv)))[1] == [
        written
    ]


def test_signs_that_mean_something_elsewhere_are_escaped():
    table = Table("t", "A & B", (("", "a|b"), ("50 %", "x_1")), (("a|b", "<i>"),))
    assert r"C:\textbackslash{}lambda\_x" in Table("t", "C:\\lambda_x", (("", "a"),), ()).latex
    assert r"a\|b" in table.markdown
    assert "&lt;i&gt;" in table.html
    assert r"A \& B" in table.latex
    assert r"50 \%" in table.latex
    assert r"x\_1" in table.latex
    assert r"a\textbar{}b & \textless{}i\textgreater{}" in table.latex


def test_a_report_is_written_with_all_its_files(backend, tmp_path):
    (tmp_path / "table-5.csv").write_text("of an earlier report")
    for mine in ("table-of-contents.csv", "differences-to-do.csv", "table-10.csv"):
        (tmp_path / mine).write_text("of somebody else")
    found = done(
        Evaluation(tmp_path, asked("teacher", "student", metrics=("diversity", "vendi"))), backend
    )
    page = write_evaluation_report(tmp_path, [(found, found.results())]).read_text()
    assert page.count("<table>") == 2
    assert page.count("plotly-graph-div") == 2
    assert "Plotly" in page
    assert set(evaluation_figures(found, found.results())) == {"numbers", "prompts"}
    numbers = list(csv.DictReader((tmp_path / "numbers.csv").open()))
    assert [(row["model"], row["number"]) for row in numbers] == [
        (model, f"{name} lite0")
        for model in ("teacher", "student")
        for name in ("diversity", "vendi")
    ]
    by_prompt = list(csv.DictReader((tmp_path / "by_prompt.csv").open()))
    assert len(by_prompt) == 12
    assert float(numbers[0]["value"]) == pytest.approx(
        sum(float(row["value"]) for row in by_prompt[:3]) / 3
    )
    assert "### 3 prompts of mine, 3 seeds" in (tmp_path / "report.md").read_text()
    assert r"\toprule" in (tmp_path / "report.tex").read_text()
    assert "Intervals over so few prompts are wide" in page
    assert (tmp_path / "numbers-by-model.csv").exists()
    assert not (tmp_path / "table-5.csv").exists()
    assert (
        len([path for path in tmp_path.glob("*.csv") if path.read_text() == "of somebody else"])
        == 3
    )
    assert all(
        rf"\item {line.split(':')[0]}" in (tmp_path / "report.tex").read_text()
        for line in provenance(found, found.results())
    )
