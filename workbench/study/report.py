"""The report of a pairwise user study: which methods were preferred, how the participants answered,
and the protocol.

    report.html             whether the votes can be believed, findings, figures, tables, protocol,
                            in one file that needs no network
    report.md  report.tex   the same without figures; the tables
    votes.csv               one line per ballot, every field
    results.csv             one line per number, with its interval
    provenance.json         what made the CSV files; the others carry it

Everything can be written at any time of a study; numbers that are not known yet are blank, and
listed. Not here: the numbers (`study.analysis`), the tables (`study.tables`).
"""

from __future__ import annotations

import dataclasses
import json
import math
import re
from collections import Counter
from collections.abc import Iterable
from pathlib import Path

from workbench.io.files import packages
from workbench.io.notation import format_seeds, model_title
from workbench.io.page import report_page
from workbench.io.provenance import text_digest, write_files
from workbench.io.tables import Bullets, Table, csv_text
from workbench.study.analysis.findings import Analysis, analysis
from workbench.study.analysis.statistics import real_trials
from workbench.study.ballots import Ballot, Choice, TrialKind
from workbench.study.belief import TITLE, belief_numbers, belief_sentences, belief_table
from workbench.study.design import StudyDesign
from workbench.study.errors import StudyError
from workbench.study.figures import method_titles, ordered_results, reference_of, study_figures
from workbench.study.store.records import Status
from workbench.study.tables import study_numbers, study_tables, unanimity, votes_of

METHODS = (
    "Win rates: intervals and p are clustered by participant and by prompt (Cameron, Gelbach and "
    "Miller 2011, on the logit scale with Student's t), so they apply to other people and other "
    "prompts of the same kind; p is for a rate of 50 %.",
    "As if votes were independent: Wilson's interval, too narrow because votes share people and "
    "prompts; given because others report it.",
    "Sign test: the exact binomial test that as many prompts have a majority for one method as for "
    "the other; it treats these people as fixed.",
    "Side bias and repeats: intervals are clustered by participant.",
    "Krippendorff's alpha: nominal; a unit is one prompt of one pair, its answers the methods or a "
    "tie; jackknife intervals over participants and prompts. 1 is agreement, 0 chance; it is low, "
    "through no fault of anyone, if people differ in taste or the methods are equal.",
    "Bradley-Terry: a tie is half a win each way; the scores are those of the win rates over all "
    "people and prompts, with jackknife intervals over participants and prompts; without intervals "
    "if a method won or lost everything.",
    "Where a method won every vote against another there is no interval but a one-sided bound: "
    "that of independent votes, and that of votes which share no participant and no prompt.",
    "All intervals are 95 %. No p is corrected for the number of pairs and criteria.",
)


def write_study_report(
    folder: Path,
    design: StudyDesign,
    ballots: list[Ballot],
    status: Status | None = None,
    reference: str = "",
) -> Path:
    """Writes the files named above into `folder`, replacing an earlier report; returns the path of
    report.html.

    The same arguments give the same files. Raises StudyError for ballots of another study and an
    unknown `reference` (see `study.figures.reference_of`), FolderError if the disk is full.
    """
    _check(design, ballots)
    found = analysis(ballots, *design.rule)
    tables, figures = (
        study_tables(design, found, ballots, reference),
        study_figures(design, found, ballots, reference),
    )
    believed = belief_sentences(design, found, ballots, reference)
    people = belief_table(design, found, ballots)
    summary: list[Bullets | Table] = [Bullets(TITLE, tuple(believed)), people] if believed else []
    summary.append(Bullets("Findings", tuple(finding_sentences(design, found, reference))))
    if lines := open_questions(design, found, ballots):
        summary.append(Bullets("Still open", tuple(lines)))
    rules = Bullets("Protocol", tuple(protocol(design, found, ballots, status)))
    numbers = [
        *study_numbers(design, found, ballots, reference),
        *belief_numbers(design, found, ballots),
    ]
    texts = {
        "votes.csv": votes_csv(ballots),
        "results.csv": csv_text(numbers),
        "report.tex": "\n\n".join(table.latex for table in (people, *tables) if table.rows) + "\n",
        "report.md": _markdown(design, [*summary, *tables, rules]),
        "report.html": report_page(design.title, *summary, *figures.values(), *tables, rules),
    }
    made = {
        "kind": "study report",
        "design": json.loads(design.to_json()),
        "reference": reference,
        # not the votes themselves: a page may go where they should not
        **{name: text_digest(texts[name]) for name in ("votes.csv", "results.csv")},
        "packages": packages(),
    }
    write_files(folder, texts, made)
    return folder / "report.html"


def votes_csv(ballots: Iterable[Ballot]) -> str:
    """A line per vote that counts, with every field."""
    return csv_text(
        [[field.name for field in dataclasses.fields(Ballot)]]
        + [list(dataclasses.astuple(ballot)) for ballot in ballots]
    )


def finding_sentences(design: StudyDesign, found: Analysis, reference: str = "") -> list[str]:
    """One sentence per pair and criterion with votes, without the excluded."""
    titles, lines = method_titles(design.methods, model_title), []
    for result in ordered_results(design, found.kept.pairs, reference_of(design, reference)):
        rate, count = result.half, votes_of(result)
        if not math.isnan(rate.value):
            interval, verdict = "no interval yet", ""
            if not math.isnan(rate.low):
                interval = f"95 % interval {100 * rate.low:.1f} to {100 * rate.high:.1f} %"
                verdict = (
                    ": more than half"
                    if rate.low > 0.5
                    else ": less than half"
                    if rate.high < 0.5
                    else ": not distinguishable from half"
                )
            votes = f"{count} vote{'s' * (count != 1)}"
            alone = f" {unanimity(result, titles)}." if result.unanimous else ""
            lines.append(
                f"By {result.criterion}, {titles[result.first]} won {100 * rate.value:.1f} % of "
                f"{votes} against "
                f"{titles[result.second]} ({interval}; a tie is half a win){verdict}.{alone}"
            )
    return lines or ["No votes yet."]


def _policy(design: StudyDesign) -> str:
    """What a seed is, where that is known."""
    own = ": each prompt has its own noise, so a seed is another picture than in the app"
    policy = f"; noise policy {design.noise}" if design.noise else ""
    return policy + (own if design.noise == "per-prompt" else "")


def open_questions(design: StudyDesign, found: Analysis, ballots: Iterable[Ballot]) -> list[str]:
    """The questions that these votes leave open; none if the study is complete."""
    ballots, titles = list(ballots), method_titles(design.methods, model_title)
    having = {
        (result.criterion, frozenset((result.first, result.second))): result
        for result in found.kept.pairs
        if votes_of(result)
    }
    keys = [(criterion.name, pair) for criterion in design.criteria for pair in design.pairs]
    without_votes = [
        _named(*key, titles) for key in keys if (key[0], frozenset(key[1])) not in having
    ]
    open_ended = [
        _named(*key, titles)
        for key in keys
        if (one := having.get((key[0], frozenset(key[1])))) and math.isnan(one.half.low)
    ]
    aim, without = design.votes_per_item, ", without the excluded" if found.excluded else ""
    short = sum(votes < aim for votes in _votes_by_item(design, ballots, found))
    no_gold = design.gold and not any(gold.answered for gold in found.golds.values())
    lines = [
        (without_votes, f"Without votes: {'; '.join(without_votes)}."),
        (
            open_ended,
            "Without an interval (a single participant or prompt, or all votes equal): "
            f"{'; '.join(open_ended)}.",
        ),
        (
            short,
            f"{short} of {len(design.items)} items (a pair of methods for a prompt) have fewer "
            f"than the intended {aim} votes{without}.",
        ),
        (
            design.repeats and not found.everyone.repeats.repeats,
            "Consistency of repeats: none was answered yet.",
        ),
        (no_gold, "Failed gold trials: none was answered yet."),
        (found.kept.unscaled, f"One scale for all methods: {found.kept.unscaled}."),
    ]
    return [line for applies, line in lines if applies]


def protocol(
    design: StudyDesign, found: Analysis, ballots: Iterable[Ballot], status: Status | None = None
) -> list[str]:
    """The design, its rules, and the methods behind the numbers: one statement per line."""
    had = _votes_by_item(design, ballots, found)
    people = f"{len(found.golds)} participants gave answers"
    if status is not None:
        people = (
            f"{status.participants} participants joined, {status.finished} finished; {people}; "
            f"{status.skipped} real trials were "
            "skipped"
        )
    without = ", without the excluded" if found.excluded else ""
    out = (
        f"It excludes {len(found.excluded)} of {len(found.golds)} participants"
        if found.excluded
        else "It excludes nobody"
    )
    every = len(design.pairs) == math.comb(len(design.methods), 2)
    pairs = "" if every else f" Compared: {'; '.join(' and '.join(pair) for pair in design.pairs)}."
    return [
        f"Study: {design.title}; design {design.digest}, frozen before the first vote.",
        f"Methods: {', '.join(design.methods)}.{pairs}",
        f"{len(design.prompts)} prompts; a sheet shows {len(design.seeds)} seeds "
        f"({format_seeds(design.seeds)}{_policy(design)}) of one method for one "
        "prompt. Two sheets of the same prompt and seeds stand side by side, sides balanced, "
        "without names.",
        *(
            " ".join(f"Criterion {one.name}: {one.question} {one.explanation}".split())
            for one in design.criteria
        ),
        f"Answers: left, right{', tie' if design.ties else ''}, or "
        f"skip{'' if design.ties else '; ties were not allowed'}.",
        f"A participant gets {design.trials} real trials, {design.gold} gold trials (with a right "
        f"answer), {design.repeats} repeats (sides exchanged), and one practice trial that does "
        "not count.",
        f"Votes per item and criterion: {design.votes_per_item} intended; {min(had)} to {max(had)} "
        f"collected, {sum(had) / len(had):.1f} on average over {len(had)} items{without}.",
        f"{people}.",
        f"Exclusion, fixed in the design before any vote: participants with {_rule(design)}, and "
        f"nobody else. {out}. Figures and findings are without the excluded; tables are given both "
        "ways.",
        *METHODS,
    ]


def _rule(design: StudyDesign) -> str:
    parts = [f"more than {design.max_gold_failures} failed gold trials"]
    if design.min_seconds is not None and design.max_fast is None:
        parts.append(f"a median answer in less than {design.min_seconds:g} s")
    elif design.min_seconds is not None and design.max_fast is not None:
        share = f"more than {100 * design.max_fast:g} % of answers"
        parts.append(f"{share} in less than {design.min_seconds:g} s")
    if design.min_side_p is not None:
        parts.append(f"so many answers on one side that p is less than {design.min_side_p:g}")
    return ", or ".join(parts)


def _check(design: StudyDesign, ballots: list[Ballot]) -> None:
    pairs, criteria, prompts = (
        set(map(frozenset, design.pairs)),
        {one.name for one in design.criteria},
        set(design.prompts),
    )
    for vote in real_trials(ballots):
        if (
            frozenset(vote.pair) not in pairs
            or vote.criterion not in criteria
            or vote.prompt not in prompts
        ):
            raise StudyError(
                f"trial {vote.trial} ({' and '.join(vote.pair)}, {vote.criterion}, "
                f"{vote.prompt!r}) is not of the study {design.title!r}; report the ballots with "
                "their own design"
            )


def _votes_by_item(design: StudyDesign, ballots: Iterable[Ballot], found: Analysis) -> list[int]:
    """The votes that count for every item, without the excluded."""
    trials = {
        (vote.trial, vote.participant, frozenset(vote.pair), vote.prompt)
        for vote in ballots
        if vote.kind == TrialKind.REAL
        and vote.choice != Choice.SKIP
        and vote.participant not in found.excluded
    }
    counts = Counter(trial[2:] for trial in trials)
    return [counts[frozenset(item.pair), item.prompt] for item in design.items]


def _named(criterion: str, pair: tuple[str, str], titles: dict[str, str]) -> str:
    return f"{titles[pair[0]]} and {titles[pair[1]]} by {criterion}"


def _markdown(design: StudyDesign, parts: list[Bullets | Table]) -> str:
    title = f"# {' '.join(design.title.split())}"
    text = "\n\n".join([title, *(part.markdown for part in parts)]) + "\n"
    return re.sub(r"<(?=[A-Za-z/!?])", "&lt;", text)  # Markdown lets tags through
