"""The report of simulated studies: its numbers equal the analysis's and the ballots', at any stage
of a study, and names are shown literally.
"""

import csv
import dataclasses
import io
import math
from html.parser import HTMLParser

import pytest

from workbench.io.notation import model_title
from workbench.study.analysis.findings import analysis
from workbench.study.analysis.simulation import SimulatedStudy, true_rate
from workbench.study.ballots import Ballot, Choice, TrialKind
from workbench.study.belief import belief_table
from workbench.study.design import Criterion, StudyDesign
from workbench.study.errors import StudyError
from workbench.study.figures import reference_of, study_figures
from workbench.study.report import finding_sentences, open_questions, protocol, write_study_report
from workbench.study.store.records import ItemCount, Status
from workbench.study.tables import BLANK, study_tables

FOUR = {
    "diversity": {"dmd": 0.0, "dmd-lpips": 0.2, "dmd-gan": 0.4, "dp-dmd": 1.0},
    "quality": {"dmd": 0.0, "dmd-lpips": 0.0, "dmd-gan": 0.0, "dp-dmd": 0.0},
}
FILES = {
    "report.html",
    "report.md",
    "report.tex",
    "votes.csv",
    "results.csv",
    "provenance.json",
}


def asked(*methods, prompts=40, **settings):
    texts = tuple(f"prompt {n:03}" for n in range(prompts))
    return StudyDesign(
        "A study",
        methods or ("theirs", "ours"),
        texts,
        (0, 1, 2, 3),
        **{"trials": min(20, prompts)} | settings,
    )


@pytest.fixture(scope="module")
def two():
    """A study of two methods where two of 14 are careless."""
    design = asked(gold=4, max_gold_failures=1)
    ballots = SimulatedStudy(
        participants=14, ties=0.15, skips=0.05, careless=2, golds=4, repeats=2, seed=1
    ).ballots()
    return design, ballots, analysis(ballots, 1)


@pytest.fixture(scope="module")
def four():
    design, ballots = (
        asked(*FOUR["quality"], gold=0),
        SimulatedStudy(FOUR, participants=20, trials=20, ties=0.1, seed=2).ballots(),
    )
    return design, ballots, analysis(ballots, 1)


def read(table):
    return list(csv.DictReader(io.StringIO(table.csv)))


def by_name(tables):
    return {
        table.name + (" of everyone" if table.title.endswith("everyone") else ""): read(table)
        for table in tables
    }


def of_pair(ballots, criterion, first, second, out=()):
    return [
        b
        for b in ballots
        if b.kind == TrialKind.REAL
        and b.criterion == criterion
        and {b.left, b.right} == {first, second}
        and b.participant not in out
    ]


def counted(*about):
    """Wins, ties, losses and skips of `first`, by hand; `about` as for `of_pair`."""
    real, first = of_pair(*about), about[2]
    won = [b.winner == first for b in real if b.winner]
    return (
        sum(won),
        sum(b.choice == Choice.TIE for b in real),
        len(won) - sum(won),
        sum(b.choice == Choice.SKIP for b in real),
    )


def shown(share):
    return "{:.1f} [{:.1f}, {:.1f}]".format(*(100 * part for part in share[:3]))


def test_tables_have_the_numbers_of_the_analysis_with_and_without_the_excluded(two):
    design, ballots, found = two
    tables = by_name(study_tables(design, found, ballots))
    assert set(found.excluded) == {"p012", "p013"}
    for name, findings, out in (
        ("results", found.kept, found.excluded),
        ("results of everyone", found.everyone, ()),
    ):
        for row, result in zip(tables[name], findings.pairs, strict=True):
            wins, ties, losses, skips = counted(ballots, row["criterion"], "ours", "theirs", out)
            assert [
                row[f"answers: {column}"] for column in ("votes", "wins", "ties", "losses", "skips")
            ] == [str(n) for n in (wins + ties + losses, wins, ties, losses, skips)]
            assert (row["criterion"], row["pair"]) == (result.criterion, "ours over theirs")
            assert (row["ties as half: won, %"], row["ties left out: won, %"]) == (
                shown(result.half),
                shown(result.decided),
            )
            assert float(row["ties left out: won, %"].split()[0]) == pytest.approx(
                100 * wins / (wins + losses), abs=0.05
            )
            assert row["ties as half: p"] == (
                "< 0.001" if result.half.p < 0.001 else f"{result.half.p:.3f}"
            )
        for row, result in zip(
            tables[name.replace("results", "other-tests")], findings.pairs, strict=True
        ):
            assert row["as if votes were independent: won, %"] == shown(result.wilson)
            assert [
                int(row[f"sign test over prompts: {side}"]) for side in ("for", "against", "even")
            ] == list(result.majorities[:3])
    kept, everyone = tables["repeats"]
    assert (kept["participants"], everyone["participants"]) == (
        "without the excluded",
        "everyone",
    )
    assert everyone["repeats"] == "56"
    assert kept["same, %"] == shown(found.kept.repeats.share)
    assert float(kept["by chance, %"]) == pytest.approx(100 * found.kept.repeats.chance, abs=0.05)
    for row, one in zip(tables["agreement"], found.kept.agreement, strict=True):
        assert "-0.000" not in row["alpha"]
        assert [float(part.strip("[],")) for part in row["alpha"].split()] == pytest.approx(
            list(one.alpha), abs=6e-4
        )
    sides = {(row["participants"], row["criterion"]): row for row in tables["sides"]}
    assert len(sides) == 6
    assert sides["everyone", "all"]["left, %"] == shown(found.everyone.side_bias.share)
    assert (
        sum(int(sides["everyone", name]["left"]) for name in ("diversity", "quality"))
        == found.everyone.side_bias.left
    )
    people = {row["participant"]: row for row in read(belief_table(design, found, ballots))}
    assert people.pop("together")["excluded"] == "2"
    assert len(people) == 14
    assert "gold trials, more than 1" in people["p013"]["excluded"]
    assert people["p000"]["excluded"] == "no"
    assert people["p013"]["gold trials: failed"] == str(found.golds["p013"].failed)
    assert people["p000"]["answers: median seconds"] == f"{found.seconds['p000']:.1f}"


def test_the_truth_of_a_simulated_study_is_in_the_findings():
    strengths = {"diversity": {"ours": 1.2, "theirs": 0.0}, "quality": {"ours": 0.0, "theirs": 0.0}}
    ballots = SimulatedStudy(strengths, participants=20, prompts=40, ties=0.1, seed=5).ballots()
    found = analysis(ballots, 1)
    diverse, good = finding_sentences(asked(), found)
    half = found.kept.pairs[0].half
    assert half.low < true_rate(1.2, ties=0.1) < half.high
    ends = (
        f"(95 % interval {100 * half.low:.1f} to {100 * half.high:.1f} %; a tie is half a "
        "win): more than half."
    )
    assert diverse.endswith(ends)
    assert diverse.startswith("By diversity, ours won ")
    assert good.endswith(": not distinguishable from half.")
    assert finding_sentences(asked(), found, "theirs")[0].endswith(": less than half.")


def test_bars_carry_the_counts(two, four):
    for design, ballots, found, reference in ((*two, "ours"), (*four, "dp-dmd")):
        figures, titles = (
            study_figures(design, found, ballots),
            dict(zip(design.methods, map(model_title, design.methods))),
        )
        others = [method for method in design.methods if method != reference]
        bars = iter(figures["preferences"].data)
        for criterion in ("diversity", "quality"):
            expected = [
                counted(ballots, criterion, reference, other, found.excluded) for other in others
            ]
            for part in range(3):
                bar = next(bars)
                assert list(bar.customdata) == [counts[part] for counts in expected]
                assert list(bar.y) == list(range(len(others)))
                assert list(bar.x) == pytest.approx(
                    [100 * counts[part] / sum(counts[:3]) for counts in expected]
                )
        assert next(bars, None) is None
        margins = {}
        for vote in of_pair(ballots, "quality", reference, others[-1], found.excluded):
            if vote.choice != Choice.SKIP:
                margins[vote.prompt] = margins.get(vote.prompt, 0) + {reference: 1, None: 0}.get(
                    vote.winner, -1
                )
        place = figures["prompts"].layout.yaxis.ticktext.index(
            f"{titles[reference]} over {titles[others[-1]]}"
        )
        ahead, even, behind = figures["prompts"].data[3:]
        assert (ahead.customdata[place], even.customdata[place], behind.customdata[place]) == (
            sum(m > 0 for m in margins.values()),
            sum(m == 0 for m in margins.values()),
            sum(m < 0 for m in margins.values()),
        )


def test_dots_carry_the_rates_and_scores(four):
    design, ballots, found = four
    figures = study_figures(design, found, ballots)
    result = next(
        one
        for one in found.kept.pairs
        if (one.criterion, one.first, one.second) == ("diversity", "dmd", "dp-dmd")
    ).of("dp-dmd")
    half, decided = figures["rates"].data[:2]
    assert figures["rates"].layout.yaxis.ticktext[0] == "DP-DMD over DMD"
    for dots, rate in ((half, result.half), (decided, result.decided)):
        assert (dots.x[0], dots.error_x.array[0], dots.error_x.arrayminus[0]) == pytest.approx(
            (100 * rate.value, 100 * (rate.high - rate.value), 100 * (rate.value - rate.low))
        )
    scores, labels = figures["scores"].data[0], figures["scores"].layout.yaxis.ticktext
    assert {labels[place]: x for place, x in zip(scores.y, scores.x)} == {
        {"dmd": "DMD", "dmd-lpips": "DMD-LPIPS", "dmd-gan": "DMD-GAN", "dp-dmd": "DP-DMD"}[
            name
        ]: score.value
        for name, score in found.kept.strengths[0].scores.items()
    }


def test_participants_are_drawn_with_their_golds_and_seconds(two):
    design, ballots, found = two
    figure = study_figures(design, found, ballots)["participants"]
    real, repeat, right, failed, seconds = figure.data
    answered = [
        b.participant for b in ballots if b.kind == TrialKind.REAL and b.choice != Choice.SKIP
    ]
    assert list(real.x) == [answered.count(person) for person in found.golds]
    assert set(repeat.x) == {4}
    assert [a + b for a, b in zip(right.x, failed.x)] == [4] * 14
    assert list(failed.x)[-1] == found.golds["p013"].failed
    assert list(seconds.x) == list(found.seconds.values())
    assert figure.layout.yaxis.ticktext[-3:] == ("p011", "p012 ✕", "p013 ✕")


def test_four_methods_are_on_one_scale_and_the_reference_is_first(four):
    design, ballots, found = four
    tables = by_name(study_tables(design, found, ballots))
    assert [row["pair"] for row in tables["results"][:4]] == [
        "DP-DMD over DMD",
        "DP-DMD over DMD-LPIPS",
        "DP-DMD over DMD-GAN",
        "DMD over DMD-LPIPS",
    ]
    assert len(tables["results"]) == 12
    assert not any(name.endswith("everyone") for name in tables)
    top = tables["scores"][0]
    diversity = found.kept.strengths[0]
    assert (top["method"], top["preferred to DP-DMD, %"]) == ("DP-DMD", "–")
    assert top["score"] == "{:.2f} [{:.2f}, {:.2f}]".format(*diversity.scores["dp-dmd"])
    others = {
        row["method"]: row["preferred to DP-DMD, %"]
        for row in tables["scores"]
        if row["criterion"] == "diversity"
    }
    rate = [100 * part for part in diversity.preferred("dmd", "dp-dmd")]
    assert others["DMD"] == "{:.1f} [{:.1f}, {:.1f}]".format(*rate)
    against = study_figures(design, found, ballots, "dmd")["preferences"]
    others = "dmd-lpips", "dmd-gan", "dp-dmd"
    assert list(against.data[0].customdata) == [
        counted(ballots, "diversity", "dmd", other)[0] for other in others
    ]
    with pytest.raises(StudyError, match="'dpdmd' is not a method of this study"):
        study_tables(design, found, ballots, "dpdmd")
    assert reference_of(asked("a", "b", "c", pairs=(("a", "b"),))) == "b"
    assert reference_of(asked("dp-dmd", "b")) == "dp-dmd"


def test_methods_without_a_common_scale_are_told():
    strengths = {"quality": dict.fromkeys("abcd", 0.0)}
    design = asked(
        *"abcd",
        pairs=(("a", "b"), ("c", "d")),
        criteria=(Criterion("quality", "Which is better?", gold=True),),
    )
    ballots = [
        b
        for b in SimulatedStudy(strengths, trials=40, participants=6).ballots()
        if set(b.pair) in ({"a", "b"}, {"c", "d"})
    ]
    found = analysis(ballots, 1)
    assert any(
        line.startswith("One scale for all methods: the methods fall into groups")
        for line in open_questions(design, found, ballots)
    )
    assert "scores" not in study_figures(design, found, ballots)
    assert "scores" not in by_name(study_tables(design, found, ballots))
    assert any(
        line.endswith("Compared: a and b; c and d.") for line in protocol(design, found, ballots)
    )


def test_a_study_without_votes_has_a_report(tmp_path):
    page = write_study_report(tmp_path / "new", asked(), []).read_text()
    assert {path.name for path in (tmp_path / "new").iterdir()} == FILES
    for part in (
        "No votes yet.",
        "Without votes: theirs and ours by diversity; theirs and ours by quality.",
        "40 of 40 items",
        "none was answered yet",
    ):
        assert part in page
    assert "<table" not in page
    assert "Plotly" not in page
    assert (tmp_path / "new" / "votes.csv").read_text().split() == [
        ",".join(field.name for field in dataclasses.fields(Ballot))
    ]


def test_what_few_votes_cannot_tell_is_blank_and_named(tmp_path):
    design, ballots = (
        asked(),
        [
            Ballot("t1", "ann", "prompt 000", "diversity", "ours", "theirs", Choice.LEFT),
            Ballot("t1", "ann", "prompt 000", "quality", "ours", "theirs", Choice.SKIP),
        ],
    )
    found = analysis(ballots, 1)
    results, _, agreement = study_tables(design, found, ballots)[:3]
    diverse, good = read(results)
    assert (diverse["ties as half: won, %"], diverse["ties as half: p"]) == ("100.0", "")
    assert good["ties as half: won, %"] == ""
    assert BLANK in results.notes
    assert [row["alpha"] for row in read(agreement)] == ["", ""]
    assert BLANK in agreement.notes
    told = " ".join(open_questions(design, found, ballots))
    assert "Without votes: theirs and ours by quality." in told
    assert "all votes equal): theirs and ours by diversity." in told
    (line,) = finding_sentences(design, found)
    assert (
        line
        == "By diversity, ours won 100.0 % of 1 vote against theirs (no interval yet; a tie is "
        "half a win)."
    )
    assert set(study_figures(design, found, ballots)) == {
        "preferences",
        "rates",
        "prompts",
        "participants",
    }
    assert (
        "nan"
        not in write_study_report(tmp_path, design, ballots).with_name("report.md").read_text()
    )


def test_a_complete_study_leaves_nothing_open(two):
    design, ballots, found = two
    assert open_questions(dataclasses.replace(design, votes_per_item=1), found, ballots) == []
    had = {
        prompt: sum(
            b.prompt == prompt and b.criterion == "quality" and b.choice != Choice.SKIP
            for b in of_pair(ballots, "quality", "ours", "theirs", found.excluded)
        )
        for prompt in design.prompts
    }
    status = Status(
        20,
        13,
        {"real": 1},
        15,
        3,
        tuple(ItemCount(item, 1, 0, 1) for item in design.items),
        False,
        2,
    )
    told = "\n".join(protocol(design, found, ballots, status))
    for part in (
        f"design {design.digest}",
        "40 prompts; a sheet shows 4 seeds (0-3)",
        "Which side has the better image quality?",
        "left, right, tie, or skip",
        f"3 intended; {min(had.values())} to {max(had.values())} collected",
        "20 participants joined, 13 finished; 14 participants gave answers",
        "more than 1 failed gold trials",
        "It excludes 2 of 14 participants",
        "clustered by participant and by prompt",
    ):
        assert part in told, part
    assert "ties were not allowed" in "\n".join(
        protocol(dataclasses.replace(design, ties=False), found, ballots)
    )


def test_votes_of_the_excluded_fill_no_item(two):
    design, ballots, found = two
    aim = min(
        sum(
            b.prompt == prompt
            for b in of_pair(ballots, "quality", "ours", "theirs")
            if b.choice != Choice.SKIP
        )
        for prompt in design.prompts
    )
    (line,) = open_questions(dataclasses.replace(design, votes_per_item=aim), found, ballots)
    assert line.endswith(f"have fewer than the intended {aim} votes, without the excluded.")
    assert (
        open_questions(
            dataclasses.replace(design, votes_per_item=aim),
            dataclasses.replace(found, excluded={}),
            ballots,
        )
        == []
    )


def test_the_report_excludes_by_the_seconds_of_the_design(two, tmp_path):
    design, ballots, found = two
    fast = sorted(found.seconds.values())[2] + 0.01  # three are under it
    by_median = dataclasses.replace(design, min_seconds=fast, max_fast=None, min_side_p=None)
    write_study_report(tmp_path, by_median, ballots)
    told = (tmp_path / "report.md").read_text()
    assert (
        f"or a median answer in less than {fast:g} s, and nobody else. It excludes 3 of 14 "
        "participants" in told
    )
    assert f"under {fast:g} s" in told
    write_study_report(tmp_path, dataclasses.replace(design, min_seconds=3), ballots)
    assert (
        "participants with more than 1 failed gold trials, or more than 20 % of answers in less "
        "than 3 s, or so many answers on one side that p is less than 0.001, and nobody else. It "
        "excludes 2 of 14 participants" in (tmp_path / "report.md").read_text()
    )


def test_every_number_and_every_ballot_is_in_the_csv_files(two, tmp_path):
    design, ballots, found = two
    write_study_report(tmp_path, design, ballots)
    votes = list(csv.DictReader((tmp_path / "votes.csv").open(newline="")))
    assert len(votes) == len(ballots)
    assert votes[7] == {
        field: "" if value is None else getattr(value, "value", None) or str(value)
        for field, value in dataclasses.asdict(ballots[7]).items()
    }
    lines = list(csv.DictReader((tmp_path / "results.csv").open(newline="")))
    numbers = {
        (row["participants"], row["criterion"], row["method"], row["number"]): row for row in lines
    }
    assert len(numbers) == len(lines)
    for of, findings in (("everyone", found.everyone), ("without the excluded", found.kept)):
        for one in findings.pairs:
            row = numbers[of, one.criterion, "ours", "win rate, ties as half"]
            assert [float(row[end]) for end in ("value", "low", "high", "p")] == list(one.half)
            assert row["against"] == "theirs"
            assert numbers[of, one.criterion, "ours", "wins"]["value"] == str(one.first_wins)
            assert float(numbers[of, one.criterion, "ours", "prompts for"]["p"]) == one.majorities.p
            assert not numbers[of, one.criterion, "ours", "prompts against"]["p"]
        left, again = (
            numbers[of, "", "", "left side preferred"],
            numbers[of, "", "", "repeats answered as before"],
        )
        for row, share in ((left, findings.side_bias.share), (again, findings.repeats.share)):
            assert [float(row[end]) for end in ("value", "low", "high", "p")] == list(share)
        alpha = next(
            row
            for row in lines
            if row["participants"] == of and row["number"] == "Krippendorff's alpha"
        )
        assert [float(alpha[end]) for end in ("value", "low", "high")] == list(
            findings.agreement[0].alpha
        )
    assert numbers["p013", "", "", "excluded"]["value"] == "1"
    assert numbers["p013", "", "", "golds failed"]["value"] == str(found.golds["p013"].failed)


def test_spreadsheets_are_given_no_formulas(tmp_path):
    design = StudyDesign(
        "s", ("=1+1", "@b"), ("=cmd|'/C calc'!A0", "-2+3"), (0,), trials=1, gold=0, repeats=0
    )
    ballots = [
        Ballot(f"t{n}", f"+p{n}", design.prompts[n], "quality", *design.methods, Choice.LEFT)
        for n in range(2)
    ]
    write_study_report(tmp_path, design, ballots)
    rows = list(csv.DictReader((tmp_path / "votes.csv").open(newline="")))
    assert [row["prompt"] for row in rows] == ["'=cmd|'/C calc'!A0", "'-2+3"]
    assert (rows[0]["left"], rows[0]["right"], rows[1]["participant"]) == ("'=1+1", "'@b", "'+p1")
    cells = [
        cell
        for name in ("votes.csv", "results.csv")
        for row in csv.reader((tmp_path / name).open(newline=""))
        for cell in row
    ]
    assert not [cell for cell in cells if cell[:1] in ("=", "+", "@")]


class Tags(HTMLParser):
    def __init__(self, page):
        super().__init__()
        self.names = []
        self.feed(page)

    def handle_starttag(self, tag, attrs):
        self.names.append(tag)
        assert not [
            name
            for name, value in attrs
            if name.startswith("on") or (value or "").startswith(("http", "//", "javascript"))
        ]


def test_hostile_names_stay_names(tmp_path):
    bad = "<img src=x onerror=alert(1)>", "</script><script>alert(2)</script>"
    named = dict(zip(("theirs", "ours"), bad))
    design = asked(*bad, criteria=(Criterion("<b>quality</b>", "<i>Which?</i>"),), gold=0)
    design = dataclasses.replace(design, title=bad[1], prompts=(bad[0], *design.prompts[1:]))
    plain = [
        b for b in SimulatedStudy(participants=6, seed=1).ballots() if b.criterion == "quality"
    ]
    ballots = [
        dataclasses.replace(
            b,
            criterion="<b>quality</b>",
            left=named[b.left],
            right=named[b.right],
            prompt=bad[0] if b.prompt == "prompt 000" else b.prompt,
        )
        for b in plain
    ]
    tame = dataclasses.replace(asked(gold=0), criteria=(Criterion("quality", "Which?"),))
    hostile, harmless = (
        Tags(write_study_report(tmp_path / name, *study).read_text()).names
        for name, study in (("bad", (design, ballots)), ("good", (tame, plain)))
    )
    assert hostile == harmless
    assert "img" not in hostile
    text = (tmp_path / "bad" / "report.md").read_text()
    assert "&lt;img" in text
    assert not [tag for tag in ("<img", "<script", "</script", "<b>", "<i>") if tag in text]
    figure = study_figures(design, analysis(ballots, 1), ballots)["rates"]
    assert "<" not in "".join(
        (*figure.layout.yaxis.ticktext, *(note.text for note in figure.layout.annotations))
    )


def test_the_page_is_whole_and_the_same_each_time(two, tmp_path):
    design, ballots, _ = two
    (tmp_path / "report.html").write_text("of an earlier report")
    path = write_study_report(tmp_path, design, ballots)
    page = path.read_text()
    assert path == tmp_path / "report.html"
    assert {one.name for one in tmp_path.iterdir()} == FILES
    assert page.count('class="plotly-graph-div"') == 4
    assert page.count("plotly.js v") == 1
    assert " src=" not in page.split("</script>")[-1]
    assert "default-src 'none'" in page
    assert page.count("<table>") == 9
    assert write_study_report(tmp_path / "again", design, ballots).read_text() == page
    assert r"\toprule" in (tmp_path / "report.tex").read_text()


def test_ballots_of_another_study_are_refused(two, tmp_path):
    with pytest.raises(StudyError, match="is not of the study 'A study'"):
        write_study_report(tmp_path / "none", asked("a", "b"), two[1])
    assert not (tmp_path / "none").exists()


def test_three_criteria_have_panels_in_two_rows():
    criteria = tuple(Criterion(name, "Which?", gold=True) for name in ("one", "two", "three"))
    strengths = {criterion.name: {"ours": 0.5, "theirs": 0.0} for criterion in criteria}
    ballots = SimulatedStudy(strengths, participants=5).ballots()
    figure = study_figures(asked(criteria=criteria), analysis(ballots, 1), ballots)["preferences"]
    assert len(figure.data) == 9
    assert figure.layout.yaxis3.domain[1] < figure.layout.yaxis.domain[0]
    assert [
        math.fsum(bar.x[0] for bar in figure.data[n : n + 3]) for n in (0, 3, 6)
    ] == pytest.approx([100] * 3)


def test_long_names_that_end_alike_stay_apart():
    names = "runs/first experiment, a model", "runs/other experiment, a model"
    ballots = [
        dataclasses.replace(b, left=names[b.left == "ours"], right=names[b.right == "ours"])
        for b in SimulatedStudy(participants=4).ballots()
    ]
    labels = study_figures(asked(*names), analysis(ballots, 1), ballots)[
        "rates"
    ].layout.yaxis.ticktext
    assert labels == (f"{names[1]} over {names[0]}",)


def test_a_method_that_won_every_vote_has_one_sided_bounds_and_no_interval(tmp_path):
    """10 people on 6 prompts and 3 pairs: a always wins, b always beats c."""
    design = asked(
        "a", "b", "c", prompts=6, gold=0, trials=18, criteria=(Criterion("quality", "Which?"),)
    )
    pairs = (("a", "b"), ("a", "c"), ("b", "c"))
    ballots = [
        Ballot(f"{person} {prompt} {pair}", person, prompt, "quality", *pair, Choice.LEFT)
        for person in (f"p{n}" for n in range(10))
        for prompt in design.prompts
        for pair in pairs
    ]
    write_study_report(tmp_path, design, ballots)
    text = (tmp_path / "report.md").read_text()
    bounds = ">= 0.951 if the votes were independent, >= 0.606 whatever votes"
    for won, lost in pairs:
        assert f"{won} won every vote against {lost}: P({won} is preferred) {bounds}" in text
    tables = by_name(study_tables(design, analysis(ballots, 1), ballots, "a"))
    assert [row["score"] for row in tables["scores"]] == ["4.11", "0.00", "-4.11"]
    assert tables["scores"][1]["preferred to a, %"] == "1.6"
    lines = list(csv.DictReader((tmp_path / "results.csv").open(newline="")))
    scores = [line for line in lines if line["number"] == "Bradley-Terry score"]
    assert len(scores) == 3
    assert not any(line["low"] or line["high"] for line in scores)
    one_sided = [line for line in lines if line["number"].startswith("win rate, one-sided")]
    for line in one_sided:
        least = 0.05 ** (1 / (60 if "independent" in line["number"] else 6))
        won = (line["method"], line["against"]) in pairs
        end, other = ("low", "high") if won else ("high", "low")
        assert float(line[end]) == pytest.approx(least if won else 1 - least)
        assert line[other] == ""
    assert len(one_sided) == 6
    for figure in study_figures(design, analysis(ballots, 1), ballots).values():
        assert "NaN" not in figure.to_json()


def test_the_protocol_says_what_a_seed_is():
    def told(**settings) -> str:
        design = asked(gold=0, **settings)
        return " ".join(protocol(design, analysis([], 1), []))

    assert "4 seeds (0-3) of one method" in told()
    assert "(0-3; noise policy official) of one" in told(noise="official")
    policy = "(0-3; noise policy per-prompt: each prompt has its own noise, so a seed is another "
    assert policy in told(noise="per-prompt")
    assert asked().digest != asked(noise="per-prompt").digest
