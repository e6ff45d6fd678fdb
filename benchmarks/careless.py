"""Whom the exclusion rule of a user study finds, by simulation: results/careless.json for the
default rule, results/careless-rules.json for the rules that it was chosen among.

    python benchmarks/careless.py [--people 10000] [--out results]
"""

from __future__ import annotations

import argparse
from collections import defaultdict
from dataclasses import replace
from pathlib import Path

from record import as_markdown, write_record

from workbench.study.analysis.conduct import repeat_consistency
from workbench.study.analysis.exclusion import GOLD, SIDES, TIME, Rule, breaches
from workbench.study.analysis.people import (
    CARELESS,
    HARDEST,
    HONEST,
    Person,
    caught,
    simulated_ballots,
    trials_of_people,
)
from workbench.study.design import StudyDesign

DESIGN = StudyDesign(
    "Simulated", ("one", "other"), tuple(f"prompt {n}" for n in range(40)), (0, 1, 2, 3)
)
PROTOCOL = (
    "Simulated people who answer the trials that `study create` would give them ({trials} real, "
    "{gold} gold, {repeats} repeats, two criteria), {people:,} of each kind. Honest people know a "
    "gold question's answer and slip in 2 %; a trial takes them 12 s in the median (most people 8 "
    "to 18 s), fast people 1.5 s. Careless people press one key for both criteria. "
)
COLUMNS = (
    "always left",
    "alternating",
    "random",
    "fast and random",
    "tired: fast and random from the middle",
    "tired: random at an honest pace from the middle",
)


def default_rule(people: int) -> list[dict]:
    """A row per kind of people: who is excluded, and by which part of the rule."""
    rows = []
    for one in caught(DESIGN, (*HONEST, *CARELESS, *HARDEST), people):
        shares = {part: round(100 * one.parts[part], 1) for part in (GOLD, TIME, SIDES)}
        whole = {
            name: round(100 * value, 1)
            for name, value in (("value", one.share), ("low", one.low), ("high", one.high))
        }
        rows.append(
            {
                "people": one.person.name,
                "excluded, %": whole,
                "by gold, %": shares[GOLD],
                "by time, %": shares[TIME],
                "by side, %": shares[SIDES],
            }
        )
    return rows


def candidates(people: int) -> list[dict]:
    """A row per rule."""
    rule, gold_alone = DESIGN.rule, Rule(DESIGN.max_gold_failures)
    early = replace(DESIGN, late_gold=False)
    designs = {
        "2 gold, 1 may fail: the earlier default": (replace(early, gold=2), gold_alone),
        "3 gold, 1 may fail": (replace(early, gold=3), gold_alone),
        "2 gold, none may fail": (replace(early, gold=2), Rule(0)),
        "8 gold, evenly": (early, gold_alone),
        "8 gold, towards the end": (DESIGN, gold_alone),
        "the same, and time": (DESIGN, rule._replace(min_side_p=None)),
        "the same, and side: the default": (DESIGN, rule),
        "the default, and half of the repeats answered otherwise": (DESIGN, rule),
        "10 gold, else as the default": (replace(DESIGN, gold=10), rule),
    }
    return [
        {"rule": name} | _shares(design, rule, "repeats" in name, people)
        for name, (design, rule) in designs.items()
    ]


def _shares(design: StudyDesign, rule: Rule, repeats: bool, people: int) -> dict[str, float]:
    trials = trials_of_people(design, people)

    def share(person: Person) -> float:
        ballots = simulated_ballots(design, person, trials)
        out = set(breaches(ballots, rule)) | (_inconsistent(ballots) if repeats else set())
        return round(100 * len(out) / people, 1)

    careless = {one.name: one for one in (*CARELESS, *HARDEST)}
    found = {f"{name}, %": share(careless[name]) for name in COLUMNS}
    return found | {"honest, at most, %": max(map(share, HONEST))}


def _inconsistent(ballots) -> set[str]:
    """Who answers a repeat otherwise than before, by either criterion, in half of the repeats."""
    own = defaultdict(list)
    for ballot in ballots:
        own[ballot.participant].append(ballot)
    return {name for name, votes in own.items() if repeat_consistency(votes).share.value <= 0.5}


def main() -> None:
    """Simulates, writes and prints both tables."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--people", type=int, default=10_000, help="of each kind")
    parser.add_argument("--out", type=Path, default=Path("results"))
    options = parser.parse_args()
    numbers = {name: getattr(DESIGN, name) for name in ("trials", "gold", "repeats")}
    protocol = PROTOCOL.format(people=options.people, **numbers)
    rows = default_rule(options.people)
    write_record(
        options.out,
        "careless",
        protocol + "Intervals are Monte Carlo, 95 %.",
        {},
        rows,
        [],
        title="Which participants does the default rule exclude?",
        order=210,
        decimals=dict.fromkeys(rows[0], 1),
    )
    print(as_markdown([{name: str(cell) for name, cell in row.items()} for row in rows]))
    few = options.people // 10
    rows = candidates(few)
    write_record(
        options.out,
        "careless-rules",
        PROTOCOL.format(people=few, **numbers) + "The shares that each rule excludes.",
        {},
        rows,
        [],
        title="Which rules was the default chosen among?",
        order=211,
        decimals=dict.fromkeys(rows[0], 1),
    )
    print(as_markdown([{name: str(cell) for name, cell in row.items()} for row in rows]))


if __name__ == "__main__":
    main()
