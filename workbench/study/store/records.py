"""The records that a study's store returns, and the queries for them: nothing here writes.

`Trial` is all that a participant may know: it holds neither methods, nor the kind, nor the
expected answer. `Stimulus`, `Status` and ballots are for the server and the study's owner.
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
from workbench.study.analysis.notices import notice
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
JOIN_ID = re.compile(r"[0-9a-f]{64}")  # 256 bits drawn by the client


class Joined(NamedTuple):
    """A new participant and their secret, which is returned only here and not stored."""

    participant: str
    token: str


@dataclass(frozen=True)
class Trial:
    """One side-by-side question as its participant sees it. The pictures' names are random and
    belong to this trial only.
    """

    id: str
    position: int  # 0 for practice, then 1 to `ParticipantProgress.total`
    practice: bool
    prompt: str
    left: str  # tokens of pictures
    right: str


@dataclass(frozen=True)
class Receipt:
    """A stored vote: the same for each submission with one client id."""

    trial: str
    client_id: str
    received: float


@dataclass(frozen=True)
class ParticipantProgress:
    """How far a participant is, without practice. `last` is the trial that an undo would open
    again, "" if there is none.
    """

    done: int
    total: int
    last: str
    finished: bool


@dataclass(frozen=True)
class Stimulus:
    """The meaning of a picture's token. `method` may be the reserved name SPOILED; `of` is the
    method of the picture, spoiled or not.
    """

    trial: str
    participant: str
    prompt: str
    method: str
    of: str
    side: str  # left | right
    kind: str  # practice | real | gold | repeat


class ItemCount(NamedTuple):
    """For one item: answered real trials, open ones whose reservation has not expired, and
    answered ones of participants who are not excluded so far.
    """

    item: Item
    votes: int
    reserved: int
    counted: int


@dataclass(frozen=True)
class Status:
    """A study at one moment; counts are of real trials unless stated otherwise."""

    participants: int
    finished: int
    trials: dict[str, int]  # answered, by kind: real, gold, repeat, practice
    skipped: int
    reserved: int
    items: tuple[ItemCount, ...]
    full: bool  # every item has the votes that the study wants, without those of the excluded
    excluded: int  # participants whom the design's rule excludes by their answers so far


@dataclass(frozen=True)
class StoredEvent:
    """An entry of the event log."""

    participant: str | None
    kind: str
    data: dict
    time: float


def trial_of(row: TrialRow, design: StudyDesign) -> Trial:
    """The trial as its participant may see it."""
    return Trial(
        row.id,
        row.position,
        row.kind == PRACTICE,
        design.prompts[row.prompt],
        row.left_image,
        row.right_image,
    )


def is_name(value: object) -> bool:
    """Whether this can be an id or a token at all; other texts never reach the database."""
    return isinstance(value, str) and NAME.fullmatch(value) is not None


def check_known(session: Session, participant: str, lock: bool = False) -> None:
    """Raises `NotKnown` for an unknown participant; with `lock`, others that lock the same one wait
    until this transaction ends.
    """
    query = select(ParticipantRow.id).where(ParticipantRow.id == participant)
    if (
        not is_name(participant)
        or session.scalar(query.with_for_update() if lock else query) is None
    ):
        raise NotKnown("this study has no such participant; join first")


def trials_of(participant: str):
    """The query for a participant's trials."""
    return select(TrialRow).where(TrialRow.participant == participant)


def own_trial(session: Session, participant: str, trial: str) -> TrialRow:
    """The participant's trial. Raises `NotKnown`, in the same words for an unknown trial and for
    someone else's.
    """
    row = session.get(TrialRow, trial) if is_name(trial) else None
    if row is None or row.participant != participant:
        raise NotKnown("this participant has no such trial; load the next one")
    return row


def last_answered(session: Session, participant: str) -> str:
    """The last answered or skipped trial by position, "" if none: trials are answered in order."""
    row = session.scalar(
        trials_of(participant)
        .where(TrialRow.state != OPEN)
        .order_by(TrialRow.position.desc())
        .limit(1)
    )
    return row.id if row else ""


def stimulus_of(session: Session, design: StudyDesign, token: str) -> Stimulus:
    """The meaning of a picture's token. Raises `NotKnown`."""
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
    """The participant's trials by position, for the assignment."""
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


def taken_by_item(session: Session, now: float, without: Collection[str] = ()) -> Counter[int]:
    """How often each item is answered or reserved in real trials, by all participants but those
    in `without`. One query, so that a trial answered meanwhile counts once.
    """
    taken = (TrialRow.state == ANSWERED) | (
        (TrialRow.state == OPEN) & (TrialRow.reserved_until > now)
    )
    rows = session.execute(
        select(TrialRow.item, func.count())
        .where(
            TrialRow.kind == REAL,
            TrialRow.item.is_not(None),
            TrialRow.participant.not_in(without),
            taken,
        )
        .group_by(TrialRow.item)
    )
    return Counter({item: count for item, count in rows.tuples() if item is not None})


def notice_now(session: Session, design: StudyDesign, participant: str) -> str:
    """What the participant is told beside the next trial: `notices.FAST` or SIDE after the answer
    that gave rise to it, else "".
    """
    found = notice(ballots_of(session, design, participant), design.rule)
    last = session.get(TrialRow, last_answered(session, participant))
    return found[1] if found and last and last.position == found[0] else ""


def failed_out(session: Session, design: StudyDesign) -> list[str]:
    """The participants with more failed golds than the design allows, as in `exclusion.excluded`.
    One query, made at every draw, so that their items are open to others immediately. Participants
    excluded for other reasons are not among them, because shares rise and fall until the last
    answer; `Status` excludes them.
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
    """The study at the time `now`."""
    out = excluded(ballots_of(session, design), *design.rule)
    participants, finished = (
        session.execute(
            select(func.count(), func.count(ParticipantRow.finished)).select_from(ParticipantRow)
        )
        .tuples()
        .one()
    )
    trials = session.scalars(select(TrialRow)).all()
    answered = Counter(trial.kind for trial in trials if trial.state == ANSWERED)
    real = [trial for trial in trials if trial.kind == REAL]
    votes = [trial for trial in real if trial.state == ANSWERED]
    reserved = [trial for trial in real if trial.state == OPEN and trial.reserved_until > now]
    by_item, reserved_by_item, counted_by_item = (
        Counter(trial.item for trial in some)
        for some in (votes, reserved, [vote for vote in votes if vote.participant not in out])
    )
    items = tuple(
        ItemCount(item, by_item[n], reserved_by_item[n], counted_by_item[n])
        for n, item in enumerate(design.items)
    )
    return Status(
        participants,
        finished,
        {kind: answered[kind] for kind in (*(kind.value for kind in TrialKind), PRACTICE)},
        skipped=sum(trial.state == SKIPPED for trial in real),
        reserved=len(reserved),
        items=items,
        full=all(entry.counted >= design.votes_per_item for entry in items),
        excluded=len(out),
    )


def _live():
    """The conditions for votes that were neither superseded by a later one of the same trial and
    criterion nor taken back.
    """
    later = aliased(VoteRow)
    superseded = exists().where(
        later.trial == VoteRow.trial,
        later.criterion == VoteRow.criterion,
        later.revision > VoteRow.revision,
    )
    return ~superseded, VoteRow.choice != UNDONE


def ballots_of(session: Session, design: StudyDesign, participant: str = "") -> list[Ballot]:
    """The live votes of all trials except practice, by participant in the order of joining, then by
    position and criterion; or those of one `participant`.
    """
    rank = {criterion.name: n for n, criterion in enumerate(design.criteria)}
    decisive = {criterion.name for criterion in design.criteria if criterion.gold}
    own = [TrialRow.participant == participant] if participant else []
    rows = (
        session.execute(
            select(VoteRow, TrialRow)
            .join(TrialRow, TrialRow.id == VoteRow.trial)
            .join(ParticipantRow, ParticipantRow.id == TrialRow.participant)
            .where(TrialRow.kind != PRACTICE, *_live(), *own)
            .order_by(ParticipantRow.consented, ParticipantRow.id, TrialRow.position)
        )
        .tuples()
        .all()
    )
    ballots = [
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
    joined = {
        participant: n
        for n, participant in enumerate(dict.fromkeys(ballot.participant for ballot in ballots))
    }
    return sorted(
        ballots,
        key=lambda ballot: (joined[ballot.participant], ballot.position, rank[ballot.criterion]),
    )


def events_of(session: Session) -> list[StoredEvent]:
    """All logged events, oldest first."""
    return [
        StoredEvent(row.participant, row.kind, json.loads(row.data), row.time)
        for row in session.scalars(select(EventRow).order_by(EventRow.id))
    ]
