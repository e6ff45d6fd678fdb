"""What a study's store hands out, and the questions to its tables behind that: no writing here.

`Trial` is all that a participant may know: neither methods, nor its kind, nor what is expected are
in it. `Stimulus`, `Status` and ballots are for the server's own use and for the study's owner.
"""

from __future__ import annotations

import json
import re
from collections import Counter
from collections.abc import Collection
from dataclasses import dataclass
from typing import NamedTuple

from sqlalchemy import exists, func, select
from sqlalchemy.orm import Session, aliased

from workbench.study.analysis.exclusion import excluded
from workbench.study.assignment import GOLD, PRACTICE, REAL, Given, NextTrial
from workbench.study.ballots import Ballot, Choice, TrialKind
from workbench.study.design import SPOILED, Item, StudyDesign
from workbench.study.errors import NotKnown
from workbench.study.store.schema import (
    ANSWERED,
    OPEN,
    SKIPPED,
    UNDONE,
    EventRow,
    ParticipantRow,
    TrialRow,
    VoteRow,
)

NAME = re.compile(r"[A-Za-z0-9_-]{1,64}")
JOIN_ID = re.compile(r"[0-9a-f]{64}")  # 256 bits of a client's own


class Joined(NamedTuple):
    """A new participant and their secret, which is told this once and is not kept."""

    participant: str
    token: str


@dataclass(frozen=True)
class Trial:
    """One side-by-side question, as its participant sees it. The pictures' names are random and of
    this trial alone.
    """

    id: str
    position: int  # 0 for practice, then 1 to `ParticipantProgress.total`
    practice: bool
    prompt: str
    left: str  # tokens of pictures
    right: str


@dataclass(frozen=True)
class Receipt:
    """A vote is kept: equal for each submission of one client's id."""

    trial: str
    client_id: str
    received: float


@dataclass(frozen=True)
class ParticipantProgress:
    """How far a participant is, practice not counted. `last` is the trial that an undo would open
    again, "" where there is none.
    """

    done: int
    total: int
    last: str
    finished: bool


@dataclass(frozen=True)
class Stimulus:
    """What a token of a picture stands for. `method` may be the reserved name SPOILED; `of` is the
    method whose picture, spoiled or not, it is.
    """

    trial: str
    participant: str
    prompt: str
    method: str
    of: str
    side: str  # left | right
    kind: str  # practice | real | gold | repeat


class ItemCount(NamedTuple):
    """Of one item: answered real trials, open ones whose reservation has not expired, and the
    answered ones of who is not excluded so far.
    """

    item: Item
    votes: int
    reserved: int
    counted: int


@dataclass(frozen=True)
class Status:
    """A study at one moment; counts of trials are of real ones unless said otherwise."""

    participants: int
    finished: int
    trials: dict[str, int]  # answered, by kind: real, gold, repeat, practice
    skipped: int
    reserved: int
    items: tuple[ItemCount, ...]
    full: bool  # every item has the votes that the study is after, without those of the excluded
    excluded: int  # participants whom the design's rule excludes by what they answered so far


@dataclass(frozen=True)
class StoredEvent:
    participant: str | None
    kind: str
    data: dict
    time: float


def trial_of(row: TrialRow, design: StudyDesign) -> Trial:
    return Trial(
        row.id,
        row.position,
        row.kind == PRACTICE,
        design.prompts[row.prompt],
        row.left_image,
        row.right_image,
    )


def is_name(value: object) -> bool:
    """Whether this can be the id or token of anything at all: no database is asked about other
    texts.
    """
    return isinstance(value, str) and NAME.fullmatch(value) is not None


def check_known(session: Session, participant: str, lock: bool = False) -> None:
    """Raises `NotKnown` for a participant there is not; with `lock` others who lock this one wait
    until the transaction's end.
    """
    query = select(ParticipantRow.id).where(ParticipantRow.id == participant)
    if (
        not is_name(participant)
        or session.scalar(query.with_for_update() if lock else query) is None
    ):
        raise NotKnown("this study has no such participant; join first")


def trials_of(participant: str):
    """The query of a participant's trials."""
    return select(TrialRow).where(TrialRow.participant == participant)


def own_trial(session: Session, participant: str, trial: str) -> TrialRow:
    """Raises `NotKnown` for a trial there is not, and in the same words for someone else's."""
    row = session.get(TrialRow, trial) if is_name(trial) else None
    if row is None or row.participant != participant:
        raise NotKnown("this participant has no such trial; load the next one")
    return row


def last_answered(session: Session, participant: str) -> str:
    """The answered or skipped trial of the highest position, "" for none: trials are answered in
    their order.
    """
    row = session.scalar(
        trials_of(participant)
        .where(TrialRow.state != OPEN)
        .order_by(TrialRow.position.desc())
        .limit(1)
    )
    return row.id if row else ""


def stimulus_of(session: Session, design: StudyDesign, token: str) -> Stimulus:
    row = (
        session.scalar(
            select(TrialRow).where((TrialRow.left_image == token) | (TrialRow.right_image == token))
        )
        if is_name(token)
        else None
    )
    if row is None:
        raise NotKnown("this study has no such picture; load the trial again")
    side, method, other = (
        ("left", row.left_method, row.right_method)
        if token == row.left_image
        else ("right", row.right_method, row.left_method)
    )
    return Stimulus(
        row.id,
        row.participant,
        design.prompts[row.prompt],
        method,
        other if method == SPOILED else method,
        side,
        row.kind,
    )


def given_to(session: Session, participant: str) -> list[Given]:
    """The participant's trials by position, as the assignment wants them."""
    rows = session.scalars(trials_of(participant).order_by(TrialRow.position))
    return [
        Given(
            row.id,
            NextTrial(
                row.position,
                row.kind,
                row.prompt,
                row.left_method,
                row.right_method,
                row.item,
                Choice(row.expected) if row.expected else None,
                row.repeats or "",
            ),
            row.state == SKIPPED,
        )
        for row in rows
    ]


def votes_by_item(session: Session, without: Collection[str] = ()) -> Counter[int]:
    """Answered real trials of all participants but those named."""
    return _by_item(session, without, TrialRow.state == ANSWERED)


def reserved_by_item(session: Session, now: float, without: Collection[str] = ()) -> Counter[int]:
    """Open real trials whose reservation holds, of all participants but those named."""
    return _by_item(session, without, TrialRow.state == OPEN, TrialRow.reserved_until > now)


def taken_by_item(session: Session, now: float, without: Collection[str] = ()) -> Counter[int]:
    """Both together, by one query: a trial that is answered meanwhile counts once."""
    return _by_item(
        session,
        without,
        (TrialRow.state == ANSWERED) | ((TrialRow.state == OPEN) & (TrialRow.reserved_until > now)),
    )


def _by_item(session: Session, without: Collection[str], *which) -> Counter[int]:
    rows = session.execute(
        select(TrialRow.item, func.count())
        .where(TrialRow.kind == REAL, TrialRow.participant.not_in(without), *which)
        .group_by(TrialRow.item)
    )
    return Counter(dict(rows.tuples().all()))


def failed_out(session: Session, design: StudyDesign) -> list[str]:
    """The participants with more failed golds than the design allows, as `exclusion.excluded`
    finds them, by one query: it is asked at every draw, so that the items of these participants
    are open to others at once. Not whom the rule excludes for being fast: a median goes up and
    down until the last answer, and their items with it; `Status` counts them out.
    """
    decisive = [criterion.name for criterion in design.criteria if criterion.gold]
    wrong = (VoteRow.choice != TrialRow.expected) & (VoteRow.choice != Choice.SKIP.value)
    return list(
        session.scalars(
            select(TrialRow.participant)
            .join(VoteRow, VoteRow.trial == TrialRow.id)
            .where(TrialRow.kind == GOLD, VoteRow.criterion.in_(decisive), wrong, *_live())
            .group_by(TrialRow.participant)
            .having(func.count(TrialRow.id.distinct()) > design.max_gold_failures)
        )
    )


def status_of(session: Session, design: StudyDesign, now: float) -> Status:
    out = excluded(ballots_of(session, design), design.max_gold_failures, design.min_seconds)
    votes, reserved, counted = (
        votes_by_item(session),
        reserved_by_item(session, now),
        votes_by_item(session, list(out)),
    )
    people = session.execute(
        select(func.count(), func.count(ParticipantRow.finished)).select_from(ParticipantRow)
    ).one()
    states = {
        (kind, state): count
        for kind, state, count in session.execute(
            select(TrialRow.kind, TrialRow.state, func.count()).group_by(
                TrialRow.kind, TrialRow.state
            )
        ).tuples()
    }
    answered = {
        kind: states.get((kind, ANSWERED), 0)
        for kind in (*(kind.value for kind in TrialKind), PRACTICE)
    }
    items = tuple(
        ItemCount(item, votes[n], reserved[n], counted[n]) for n, item in enumerate(design.items)
    )
    return Status(
        people[0],
        people[1],
        answered,
        states.get((REAL, SKIPPED), 0),
        sum(reserved.values()),
        items,
        full=all(entry.counted >= design.votes_per_item for entry in items),
        excluded=len(out),
    )


def _live():
    """What is true of votes that no later one of the same trial and criterion superseded, and that
    were not taken back.
    """
    later = aliased(VoteRow)
    superseded = exists().where(
        later.trial == VoteRow.trial,
        later.criterion == VoteRow.criterion,
        later.revision > VoteRow.revision,
    )
    return ~superseded, VoteRow.choice != UNDONE


def ballots_of(session: Session, design: StudyDesign) -> list[Ballot]:
    """Live votes of all trials but those for practice, by participant in the order of joining, by
    position, then by criterion.
    """
    rank = {criterion.name: n for n, criterion in enumerate(design.criteria)}
    decisive = {criterion.name for criterion in design.criteria if criterion.gold}
    rows = (
        session.execute(
            select(VoteRow, TrialRow)
            .join(TrialRow, TrialRow.id == VoteRow.trial)
            .join(ParticipantRow, ParticipantRow.id == TrialRow.participant)
            .where(TrialRow.kind != PRACTICE, *_live())
            .order_by(ParticipantRow.consented, ParticipantRow.id, TrialRow.position)
        )
        .tuples()
        .all()
    )
    found = [
        Ballot(
            trial=trial.id,
            participant=trial.participant,
            prompt=design.prompts[trial.prompt],
            criterion=vote.criterion,
            left=trial.left_method,
            right=trial.right_method,
            choice=Choice(vote.choice),
            kind=TrialKind(trial.kind),
            expected=Choice(trial.expected)
            if trial.expected and vote.criterion in decisive
            else None,
            repeats=trial.repeats or "",
            seconds=vote.seconds,
            position=trial.position,
        )
        for vote, trial in rows
    ]
    places = {
        participant: n
        for n, participant in enumerate(dict.fromkeys(ballot.participant for ballot in found))
    }
    return sorted(
        found,
        key=lambda ballot: (places[ballot.participant], ballot.position, rank[ballot.criterion]),
    )


def events_of(session: Session) -> list[StoredEvent]:
    return [
        StoredEvent(row.participant, row.kind, json.loads(row.data), row.time)
        for row in session.scalars(select(EventRow).order_by(EventRow.id))
    ]
