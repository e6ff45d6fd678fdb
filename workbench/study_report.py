"""The report of a pairwise user study: who was preferred, how the participants answered, and what all of it rests on.

    report.html             what was found, figures, tables, protocol, in one file that asks nothing of a network
    report.md  report.tex   the same without figures; the tables
    votes.csv               one line a ballot, every field
    results.csv             every number with its interval, a line each

Everything can be written at any time of a study; what cannot be told yet is blank, and named. Not here: the numbers (`study.analysis`).
"""

from __future__ import annotations

import csv
import dataclasses
import io
import math
import re
from collections import Counter
from collections.abc import Iterable, Iterator
from enum import Enum
from html import escape
from pathlib import Path

from workbench.evaluation_report import STYLE
from workbench.figures.study import method_titles, ordered_results, reference_of, study_figures
from workbench.grid_request import format_seeds, model_title
from workbench.runs import write_whole
from workbench.study.analysis import Analysis, Findings, analysis
from workbench.study.ballots import Ballot, Choice, Kind
from workbench.study.clustering import Interval, Rate
from workbench.study.conduct import SideBias, side_bias
from workbench.study.design import StudyDesign
from workbench.study.errors import StudyError
from workbench.study.records import Status
from workbench.study.statistics import PairResult, real_trials
from workbench.tables import Table, guarded

BLANK = ("Blank: cannot be told from these votes. An interval and its p need two participants, two prompts, and votes that are not all "
         "equal.")
EVERYONE, KEPT = "everyone", "without the excluded"
OFFLINE = "default-src 'none'; script-src 'unsafe-inline'; style-src 'unsafe-inline'; img-src data: blob:"
METHODS = (
    "Win rates: intervals and p are clustered by participant and by prompt (Cameron, Gelbach and Miller 2011, on the logit scale with "
    "Student's t), so they speak of other people and other prompts of the same kind; p is of the rate being 50 %.",
    "As if votes were independent: Wilson's interval, too narrow because votes share people and prompts; it stands here because others "
    "report it.",
    "Sign test: the exact binomial test of as many prompts with a majority for the one method as for the other; it takes these people as "
    "they are.",
    "Side bias and repeats: intervals are clustered by participant.",
    "Krippendorff's alpha: nominal, the unit one prompt of one pair, the answers the methods or a tie; jackknife intervals over prompts. "
    "1 is agreement, 0 what chance gives; where people differ in taste, or the methods are equal, it is low without anybody's fault.",
    "Bradley-Terry: a tie is half a win each way; intervals are from a bootstrap of participants, of prompts and of both, combined as for "
    "win rates.",
    "Intervals are 95 %. No p is corrected for the number of pairs and criteria.")


def write_study_report(folder: Path, design: StudyDesign, ballots: list[Ballot], status: Status | None = None, reference: str = "") -> Path:
    """Writes the files named above into `folder`, in place of an earlier report's; returns the path of report.html.

    The same arguments give the same files. Raises StudyError for ballots of another study and an unknown `reference` (see
    `figures.study.reference_of`), RunError where the disk is full."""
    _check(design, ballots)
    found = analysis(ballots, design.max_gold_failures)
    tables, figures = study_tables(design, found, ballots, reference), study_figures(design, found, ballots, reference)
    told = {"What was found": findings_told(design, found, reference), "What cannot be told yet": untold(design, found, ballots),
            "Protocol": protocol(design, found, ballots, status)}
    folder.mkdir(parents=True, exist_ok=True)

    def put(name: str, text: str) -> None:
        write_whole(folder / name, lambda part: part.write_text(text, encoding="utf-8", newline=""))

    put("votes.csv", votes_csv(ballots))
    put("results.csv", _csv(_numbers(design, found, ballots, reference)))
    put("report.tex", "\n\n".join(table.latex for table in tables) + "\n")
    put("report.md", _markdown(design, tables, told))
    put("report.html", _page(design, tables, told, figures))
    return folder / "report.html"


def votes_csv(ballots: Iterable[Ballot]) -> str:
    """A line for each vote that counts, with all that the analysis knows of it."""
    return _csv([[field.name for field in dataclasses.fields(Ballot)], *map(dataclasses.astuple, ballots)])


def study_tables(design: StudyDesign, found: Analysis, ballots: Iterable[Ballot], reference: str = "") -> list[Table]:
    """Results, scores and agreement, each without the excluded and of everyone; sides and repeats of both; participants. No empty table."""
    ballots, reference = list(ballots), reference_of(design, reference)
    tables = [make(design, findings, reference, f", {of}" if found.excluded else "")
              for make in (_results, _other_tests, _scores, _agreement) for of, findings in _sets(found)]
    tables += [_sides(design, found, ballots), _repeats(found), _participants(found, ballots)]
    return [dataclasses.replace(table, notes=(*table.notes, BLANK) if any("" in row for row in table.rows) else table.notes)
            for table in tables if table.rows]


def findings_told(design: StudyDesign, found: Analysis, reference: str = "") -> list[str]:
    """One sentence for each pair and criterion with votes, without the excluded."""
    titles, lines = method_titles(design.methods, model_title), []
    for result in ordered_results(design, found.kept.pairs, reference_of(design, reference)):
        rate, count = result.half, _votes(result)
        if not math.isnan(rate.value):
            interval, verdict = "no interval yet", ""
            if not math.isnan(rate.low):
                interval = f"95 % interval {100 * rate.low:.1f} to {100 * rate.high:.1f} %"
                verdict = ": more than half" if rate.low > 0.5 else ": less than half" if rate.high < 0.5 else ": not to be told from half"
            votes = f"{count} vote{'s' * (count != 1)}"
            lines.append(f"By {result.criterion}, {titles[result.first]} won {100 * rate.value:.1f} % of {votes} against "
                         f"{titles[result.second]} ({interval}; a tie is half a win){verdict}.")
    return lines or ["No votes yet."]


def untold(design: StudyDesign, found: Analysis, ballots: Iterable[Ballot]) -> list[str]:
    """What these votes leave open; nothing where the study is complete."""
    ballots, titles = list(ballots), method_titles(design.methods, model_title)
    having = {(result.criterion, frozenset((result.first, result.second))): result for result in found.kept.pairs if _votes(result)}
    keys = [(criterion.name, pair) for criterion in design.criteria for pair in design.pairs]
    unasked = [_named(*key, titles) for key in keys if (key[0], frozenset(key[1])) not in having]
    open_ended = [_named(*key, titles) for key in keys
                  if (one := having.get((key[0], frozenset(key[1])))) and math.isnan(one.half.low)]
    aim = design.votes_per_item
    short = sum(votes < aim for votes in _votes_by_item(design, ballots))
    no_gold = design.gold and not any(gold.answered for gold in found.golds.values())
    lines = [(unasked, f"Without votes: {'; '.join(unasked)}."),
             (open_ended, f"Without an interval (a single participant or prompt, or all votes equal): {'; '.join(open_ended)}."),
             (short, f"{short} of {len(design.items)} items (a pair of methods for a prompt) have fewer votes than the {aim} aimed at."),
             (design.repeats and not found.everyone.repeats.repeats, "Whether repeats are answered as before: none was answered yet."),
             (no_gold, "Who fails gold trials: none was answered yet."),
             (found.kept.unscaled, f"One scale for all methods: {found.kept.unscaled}.")]
    return [line for there, line in lines if there]


def protocol(design: StudyDesign, found: Analysis, ballots: Iterable[Ballot], status: Status | None = None) -> list[str]:
    """What was asked of whom, by which rules, and how the numbers are made: one statement a line."""
    had = _votes_by_item(design, ballots)
    people = f"{len(found.golds)} participants gave answers"
    if status is not None:
        people = (f"{status.participants} participants joined, {status.finished} finished; {people}; {status.skipped} real trials were "
                  "skipped")
    out = f"It excludes {len(found.excluded)} of {len(found.golds)} participants" if found.excluded else "It excludes nobody"
    every = len(design.pairs) == math.comb(len(design.methods), 2)
    pairs = "" if every else f" Compared: {'; '.join(' and '.join(pair) for pair in design.pairs)}."
    return [
        f"Study: {design.title}; design {design.digest}, frozen before the first vote.",
        f"Methods: {', '.join(design.methods)}.{pairs}",
        f"{len(design.prompts)} prompts; a sheet shows {len(design.seeds)} seeds ({format_seeds(design.seeds)}) of one method for one "
        "prompt. Two sheets of the same prompt and seeds stand side by side, sides balanced, without names.",
        *(" ".join(f"Criterion {one.name}: {one.question} {one.explanation}".split()) for one in design.criteria),
        f"Answers: left, right{', tie' if design.ties else ''}, or skip{'' if design.ties else '; ties were not allowed'}.",
        f"A participant gets {design.trials} real trials, {design.gold} gold trials (with a right answer), {design.repeats} repeats "
        "(sides exchanged), and one trial for practice that counts nowhere.",
        f"Votes per item and criterion: {design.votes_per_item} aimed at, {min(had)} to {max(had)} had, {sum(had) / len(had):.1f} in the "
        f"mean of {len(had)} items.",
        f"{people}.",
        f"Exclusion, by the design and so older than any vote: whoever has more than {design.max_gold_failures} failed gold trials, and "
        f"nobody else. {out}. Figures and findings are without the excluded; tables are there both ways.",
        *METHODS]


def _results(design: StudyDesign, findings: Findings, reference: str, of: str) -> Table:
    titles, rows = method_titles(design.methods, model_title), []
    for one in ordered_results(design, findings.pairs, reference):
        rows.append((one.criterion, f"{titles[one.first]} over {titles[one.second]}", *map(str, (one.participants, one.prompts)),
                     *map(str, _counts(one).values()), _percent(one.half), _p(one.half.p), _percent(one.decided), _p(one.decided.p)))
    heads = (*_plain(("criterion", "pair", "participants", "prompts")),
             *(("answers", head) for head in ("votes", "wins", "ties", "losses", "skips")),
             ("ties as half", "won, %"), ("ties as half", "p"), ("ties left out", "won, %"), ("ties left out", "p"))
    note = "Shares are of the method named first, with 95 % intervals clustered by participant and prompt."
    return Table("results", f"Results by pair and criterion{of}", heads, tuple(rows), (note,))


def _other_tests(design: StudyDesign, findings: Findings, reference: str, of: str) -> Table:
    titles, rows = method_titles(design.methods, model_title), []
    for one in ordered_results(design, findings.pairs, reference):
        sign = one.majorities
        rows.append((one.criterion, f"{titles[one.first]} over {titles[one.second]}",
                     str(sign.first), str(sign.even), str(sign.second), _p(sign.p), _percent(one.wilson)))
    heads = (*_plain(("criterion", "pair")), *(("sign test over prompts", head) for head in ("for", "even", "against", "p")),
             ("as if votes were independent", "won, %"))
    note = "For, and won: the method named first. As if votes were independent: Wilson's interval, ties left out; too narrow."
    return Table("other-tests", f"The same votes by prompt, and as if they were independent{of}", heads, tuple(rows), (note,))


def _agreement(design: StudyDesign, findings: Findings, reference: str, of: str) -> Table:
    titles, rows = method_titles(design.methods, model_title), []
    by = {(one.criterion, frozenset(one.pair)): one for one in findings.agreement}
    for result in ordered_results(design, findings.pairs, reference):
        one, pair = by[result.criterion, frozenset((result.first, result.second))], f"{titles[result.first]} and {titles[result.second]}"
        rows.append((one.criterion, pair, str(one.units), str(one.answers), _number(one.alpha)))
    heads = ("criterion", "pair", "prompts with two or more answers", "their answers", "alpha")
    return Table("agreement", f"Krippendorff's alpha: whether participants agree{of}", _plain(heads), tuple(rows))


def _scores(design: StudyDesign, findings: Findings, reference: str, of: str) -> Table:
    titles = method_titles(design.methods, model_title)
    rows = tuple((scale.criterion, titles[method], _number(score, 2),
                  "–" if method == reference or reference not in scale.scores else f"{100 * scale.preferred(method, reference):.1f}")
                 for scale in findings.strengths for method, score in scale.scores.items())
    one_sided = " and ".join(scale.criterion for scale in findings.strengths if scale.regularised)
    note = f"By {one_sided} some methods won or lost everything: half a win each way was added to every pair."
    heads = ("criterion", "method", "score", f"preferred to {titles[reference]}, %")
    return Table("scores", f"Bradley-Terry scores (logit; 0 is the methods' mean){of}", _plain(heads), rows, (note,) if one_sided else ())


def _sides(design: StudyDesign, found: Analysis, ballots: list[Ballot]) -> Table:
    rows = tuple((of, criterion or "all", str(bias.left), str(bias.right), _percent(bias.share), _p(bias.share.p))
                 for of, criterion, bias in _side_biases(design, found, ballots))
    heads = ("participants", "criterion", "left", "right", "left, %", "p")
    return Table("sides", "Side bias: how often the left side was preferred", _plain(heads), rows if ballots else ())


def _side_biases(design: StudyDesign, found: Analysis, ballots: list[Ballot]) -> Iterator[tuple[str, str, SideBias]]:
    """(participants, criterion, bias), first of all criteria (""), then of each."""
    for of, findings in _sets(found):
        own = ballots if of == EVERYONE else [ballot for ballot in ballots if ballot.participant not in found.excluded]
        yield of, "", findings.side_bias
        for criterion in design.criteria:
            yield of, criterion.name, side_bias(ballot for ballot in own if ballot.criterion == criterion.name)


def _repeats(found: Analysis) -> Table:
    rows = []
    for of, one in ((of, findings.repeats) for of, findings in _sets(found)):
        if one.repeats or one.left_out:
            chance = f"{100 * one.chance:.1f}" if one.repeats else ""
            rows.append((of, str(one.same), str(one.repeats), str(one.left_out), _percent(one.share), chance))
    heads = ("participants", "same answer", "repeats", "left out", "same, %", "by chance, %")
    note = "Left out: skipped now or then. Chance: sides by a coin, ties as often."
    return Table("repeats", "Repeats: answered as before", _plain(heads), tuple(rows), (note,))


def _participants(found: Analysis, ballots: list[Ballot]) -> Table:
    counts = Counter((ballot.participant, ballot.kind, ballot.choice == Choice.SKIP) for ballot in ballots)
    rows = []
    for person, golds in found.golds.items():
        answers = (counts[person, Kind.REAL, False], counts[person, Kind.REAL, True], counts[person, Kind.REPEAT, False])
        rows.append((person, *map(str, (*answers, golds.failed, golds.answered)),
                     f"{found.seconds[person]:.1f}" if person in found.seconds else "", "; ".join(found.excluded.get(person, ("no",)))))
    heads = (("", "participant"), ("real trials", "votes"), ("real trials", "skips"), ("repeats", "votes"), ("gold trials", "failed"),
             ("gold trials", "answered"), ("", "median seconds"), ("", "excluded"))
    return Table("participants", "Participants", heads, tuple(rows))


def _numbers(design: StudyDesign, found: Analysis, ballots: list[Ballot], reference: str) -> Iterator[tuple]:
    """Lines of results.csv: rates as shares of `method`; of one participant, or of all those named, where methods are blank."""
    yield "participants", "criterion", "method", "against", "number", "value", "low", "high", "p"
    for of, findings in _sets(found):
        for one in ordered_results(design, findings.pairs, reference_of(design, reference)):
            key, sign = (of, one.criterion, one.first, one.second), one.majorities
            for name, value in {"participants": one.participants, "prompts": one.prompts, **_counts(one)}.items():
                yield *key, name, value, "", "", ""
            yield *key, "win rate, ties as half", *one.half
            yield *key, "win rate, ties left out", *one.decided
            yield *key, "win rate, as if votes were independent", *one.wilson, ""
            for name, value, p in (("for", sign.first, sign.p), ("even", sign.even, ""), ("against", sign.second, "")):
                yield *key, f"prompts {name}", value, "", "", p
        for one in findings.agreement:
            yield of, one.criterion, *one.pair, "Krippendorff's alpha", *one.alpha, ""
        for scale in findings.strengths:
            for method, score in scale.scores.items():
                yield of, scale.criterion, method, "", "Bradley-Terry score", *score, ""
        yield of, "", "", "", "repeats answered as before", *findings.repeats.share
        yield of, "", "", "", "repeats answered as before, by chance", findings.repeats.chance, "", "", ""
    for of, criterion, bias in _side_biases(design, found, ballots):
        yield of, criterion, "", "", "left side preferred", *bias.share
    for person, golds in found.golds.items():
        for name, value in (("golds failed", golds.failed), ("golds answered", golds.answered),
                            ("median seconds", found.seconds.get(person, "")), ("excluded", int(person in found.excluded))):
            yield person, "", "", "", name, value, "", "", ""


def _check(design: StudyDesign, ballots: list[Ballot]) -> None:
    pairs, criteria, prompts = set(map(frozenset, design.pairs)), {one.name for one in design.criteria}, set(design.prompts)
    for vote in real_trials(ballots):
        if frozenset(vote.pair) not in pairs or vote.criterion not in criteria or vote.prompt not in prompts:
            raise StudyError(f"trial {vote.trial} ({' and '.join(vote.pair)}, {vote.criterion}, {vote.prompt!r}) is not of the study "
                             f"{design.title!r}; report the ballots with the design that they were given for")


def _votes_by_item(design: StudyDesign, ballots: Iterable[Ballot]) -> list[int]:
    trials = {(vote.trial, vote.participant, frozenset(vote.pair), vote.prompt) for vote in ballots
              if vote.kind == Kind.REAL and vote.choice != Choice.SKIP}
    counts = Counter(trial[2:] for trial in trials)
    return [counts[frozenset(item.pair), item.prompt] for item in design.items]


def _sets(found: Analysis) -> list[tuple[str, Findings]]:
    return [(KEPT, found.kept), (EVERYONE, found.everyone)] if found.excluded else [(EVERYONE, found.everyone)]


def _votes(result: PairResult) -> int:
    return result.first_wins + result.ties + result.second_wins


def _counts(result: PairResult) -> dict[str, int]:
    return {"votes": _votes(result), "wins": result.first_wins, "ties": result.ties, "losses": result.second_wins, "skips": result.skips}


def _named(criterion: str, pair: tuple[str, str], titles: dict[str, str]) -> str:
    return f"{titles[pair[0]]} and {titles[pair[1]]} by {criterion}"


def _plain(heads: Iterable[str]) -> tuple[tuple[str, str], ...]:
    return tuple(("", head) for head in heads)


def _percent(share: Rate | Interval) -> str:
    return _number(Interval(*(100 * part for part in share[:3])), 1)


def _number(value: Interval, digits: int = 3) -> str:
    if math.isnan(value.value):
        return ""
    told, low, high = (f"{round(part, digits) + 0.0:.{digits}f}" for part in value)  # + 0.0: no "-0.00"
    return told if math.isnan(value.low) else f"{told} [{low}, {high}]"


def _p(p: float) -> str:
    return "" if math.isnan(p) else "< 0.001" if p < 0.001 else f"{p:.3f}"


def _csv(rows: Iterable[Iterable]) -> str:
    file = io.StringIO()
    csv.writer(file).writerows([guarded(_field(value)) for value in row] for row in rows)
    return file.getvalue()


def _field(value: object) -> str:
    return "" if value is None or value != value else str(value.value if isinstance(value, Enum) else value)


def _markdown(design: StudyDesign, tables: list[Table], told: dict[str, list[str]]) -> str:
    sections = {name: "\n".join([f"## {name}\n", *(f"- {' '.join(line.split())}" for line in lines)])
                for name, lines in told.items() if lines}
    last = sections.pop("Protocol")
    text = "\n\n".join([f"# {' '.join(design.title.split())}", *sections.values(), *(table.markdown for table in tables), last]) + "\n"
    return re.sub(r"<(?=[A-Za-z/!?])", "&lt;", text)  # Markdown lets tags through


def _page(design: StudyDesign, tables: list[Table], told: dict[str, list[str]], figures: dict) -> str:
    lists = {name: "".join([f"<h2>{name}</h2><ul>", *(f"<li>{escape(line)}</li>" for line in lines), "</ul>"])
             for name, lines in told.items() if lines}
    last = lists.pop("Protocol")
    drawn = [figure.to_html(full_html=False, include_plotlyjs=n == 0, div_id=name) for n, (name, figure) in enumerate(figures.items())]
    title = escape(design.title)
    return (f'<!doctype html><html lang="en"><meta charset="utf-8"><meta http-equiv="Content-Security-Policy" content="{OFFLINE}">'
            f"<title>{title}</title><style>{STYLE}body{{max-width:1280px}}</style><body><h1>{title}</h1>{''.join(lists.values())}{''.join(drawn)}"
            f"{''.join(table.html for table in tables)}{last}</body></html>")
