"""Whether votes can be believed: what the report says first, by hand and on simulated people."""

import csv
import io
import json

import pytest

from workbench.study.analysis.findings import analysis
from workbench.study.analysis.people import CARELESS, HONEST, simulated_ballots, trials_of_people
from workbench.study.belief import belief_sentences, belief_table, conducts
from workbench.study.design import StudyDesign
from workbench.study.report import write_study_report

DESIGN = StudyDesign(
    "Simulated", ("one", "other"), tuple(f"prompt {n}" for n in range(40)), (0, 1, 2, 3)
)
KINDS = {one.name: one for one in (*HONEST, *CARELESS)}


def ballots_by(names, seed=4):
    """One person of each kind after another, all with their own trials."""
    trials, found = trials_of_people(DESIGN, len(names)), []
    for n, name in enumerate(names):
        own = simulated_ballots(DESIGN, KINDS[name], trials, seed)
        found += [ballot for ballot in own if ballot.participant == f"person {n}"]
    return found


@pytest.fixture(scope="module")
def mixed():
    ballots = ballots_by(
        ["honest, sees a clear difference"] * 6 + ["always left", "fast and always left", "random"]
    )
    return ballots, analysis(ballots, *DESIGN.rule)


def test_the_sentences_say_who_is_excluded_by_what_and_what_that_changes(mixed):
    ballots, found = mixed
    lines = belief_sentences(DESIGN, found, ballots)
    parts = [part for one in conducts(DESIGN, found, ballots) for part in one.broken]
    assert lines[0] == (
        f"The rule of the study excludes 3 of 9 participants: {parts.count('gold questions')} by "
        f"failed gold questions, {parts.count('time')} by answers that came too fast, "
        f"{parts.count('sides')} by always choosing the same side (some by more than one)."
    )
    assert lines[1] == (
        "8 gold questions, of which 1 may be failed, find 96 % of those who answer all at random."
    )
    golds = found.golds.values()
    failed, answered = sum(g.failed for g in golds), sum(g.answered for g in golds)
    assert lines[2].startswith(f"{failed} of {answered} answered gold questions were failed (")
    bias, again = found.everyone.side_bias, found.everyone.repeats
    assert lines[3].startswith(
        f"Left was chosen in {100 * bias.left / (bias.left + bias.right):.0f} % of "
        f"{bias.left + bias.right} sides chosen (95 % interval "
    )
    assert lines[4].startswith(f"{again.same} of {again.repeats} repeats were answered as before")
    assert lines[4].endswith(f"by chance {100 * again.chance:.0f} %).")
    assert "took less than 1.5 s" in lines[5]
    assert lines[6].startswith("While voting, ")
    for line, one, other in zip(lines[7:], found.kept.pairs, found.everyone.pairs, strict=True):
        rates = [pair.of("other").half.value for pair in (one, other)]
        assert [f"{100 * rate:.1f} %" in line for rate in rates] == [True, True]
        assert "without the excluded, and " in line


def test_an_exclusion_that_decides_a_finding_is_told():
    ballots = ballots_by(["honest, one method always wins"] * 3 + ["always left"] * 7)
    found = analysis(ballots, *DESIGN.rule)
    assert len(found.excluded) == 7
    lines = belief_sentences(DESIGN, found, ballots)
    for line, one, other in zip(lines[-2:], found.kept.pairs, found.everyone.pairs, strict=True):
        differ = (one.half.low > 0.5, one.half.high < 0.5) != (
            other.half.low > 0.5,
            other.half.high < 0.5,
        )
        assert line.endswith(": the exclusion decides this.") == differ


def test_the_table_has_a_line_for_everybody_and_one_for_all(mixed):
    ballots, found = mixed
    rows = list(csv.DictReader(io.StringIO(belief_table(DESIGN, found, ballots).csv)))
    assert [row["participant"] for row in rows] == [*found.golds, "together"]
    left = rows[6]
    assert (left["left, %"], left["repeats alike"]) == ("100", "0 of 4")
    assert (left["gold trials: failed"], left["gold trials: answered"]) == ("4", "8")
    assert left["told"] == "side"
    assert "chose the left side 30 of 30 times" in left["excluded"]
    assert int(rows[7]["answers: too fast, %"]) > 20
    assert rows[0]["excluded"] == "no"
    assert rows[-1]["excluded"] == "3"
    total = sum(int(row["real trials: votes"]) for row in rows[:-1])
    assert rows[-1]["real trials: votes"] == str(total) == "180"


def test_believable_votes_and_studies_without_gold_are_told_as_such():
    ballots = ballots_by(["honest, sees a clear difference"] * 4)
    lines = belief_sentences(DESIGN, analysis(ballots, *DESIGN.rule), ballots)
    assert lines[0] == "The rule of the study excludes none of 4 participants."
    assert not any("without the excluded" in line for line in lines)
    earlier = StudyDesign.from_json(json.dumps(json.loads(DESIGN.to_json()) | {"gold": 0}))
    lines = belief_sentences(earlier, analysis([], 1), [])
    assert lines == []
    lines = belief_sentences(earlier, analysis(ballots, *earlier.rule), ballots)
    assert lines[1].startswith("There are no gold questions, so nothing here tells those")


def test_the_report_opens_with_the_question(mixed, tmp_path):
    ballots, _ = mixed
    write_study_report(tmp_path, DESIGN, ballots)
    text = (tmp_path / "report.md").read_text()
    heads = [line for line in text.splitlines() if line.startswith("#")]
    assert heads[1:4] == ["## Can these votes be believed?", "### Participants", "## Findings"]
    page = (tmp_path / "report.html").read_text()
    assert page.index("Can these votes be believed?") < page.index("<h2>Findings")
    lines = list(csv.DictReader((tmp_path / "results.csv").open(newline="")))
    numbers = {(line["participants"], line["number"]): line["value"] for line in lines}
    assert numbers["person 6", "share of left"] == "1.0"
    assert numbers["person 6", "told while voting"] == "side"
    assert (tmp_path / "report.tex").read_text().startswith("\\begin{table}")


def test_a_report_without_votes_does_not_ask(tmp_path):
    write_study_report(tmp_path, DESIGN, [])
    assert "believed" not in (tmp_path / "report.md").read_text()
