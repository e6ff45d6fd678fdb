"""One submission: its validation, its earlier receipt, and the votes that it adds.

A submission answers all criteria of a trial, skips it, or takes its last answers back, and carries
an id made by the client. Its votes are the next revision of the trial's votes. Not here: whose
trial it is and whether it may be answered (`store`).
"""

from __future__ import annotations

import math
import uuid
from collections.abc import Mapping
from dataclasses import dataclass

from sqlalchemy import func, select
from sqlalchemy.exc import IntegrityError
from sqlalchemy.orm import Session

from workbench.study.ballots import Choice
from workbench.study.design import StudyDesign
from workbench.study.errors import Conflict, StudyError
from workbench.study.store.records import Receipt
from workbench.study.store.schema import UNDONE, VoteRow

LONGEST_REASON = 1000  # characters


@dataclass(frozen=True)
class Submission:
    """A choice by each criterion of the study, all made together."""

    trial: str
    choices: Mapping[str, str]
    client_id: str
    seconds: float = 0.0
    reason: str = ""  # for a skip

    @property
    def skips(self) -> bool:
        """Whether this skips the trial."""
        return self.reason != ""


def answering(
    design: StudyDesign,
    trial: str,
    answers: Mapping[str, str],
    client_id: str,
    seconds: float,
    reason: str,
) -> Submission:
    """The submission in a client's request. Raises `StudyError` for invalid answers, saying which
    are valid.
    """
    if not isinstance(reason, str) or len(reason) > LONGEST_REASON:
        raise StudyError(f"a reason to skip is a text of at most {LONGEST_REASON} characters")
    if (
        isinstance(seconds, bool)
        or not isinstance(seconds, (int, float))
        or not math.isfinite(seconds)
        or seconds < 0
    ):
        raise StudyError(f"seconds must be a number of 0 or more, not {str(seconds)[:20]!r}")
    reason = clean(reason.strip())
    return Submission(
        trial, _choices(design, answers, reason), uuid_of(client_id), float(seconds), reason
    )


def undoing(design: StudyDesign, trial: str, client_id: str) -> Submission:
    """The submission that takes back all answers of a trial."""
    return Submission(trial, {criterion.name: UNDONE for criterion in design.criteria}, client_id)


def uuid_of(value: str) -> str:
    """A client's id in its stored form. Raises `StudyError` if it is not a UUID."""
    try:
        return str(uuid.UUID(value))
    except (ValueError, AttributeError, TypeError) as error:
        raise StudyError(
            "a submission's client_id must be a UUID; make one for each submission"
        ) from error


def clean(text: str) -> str:
    """The text without characters that databases do not store: NUL and lone surrogates."""
    return text.replace("\0", "").encode("utf-8", "replace").decode()


def _choices(design: StudyDesign, answers: Mapping[str, str], reason: str) -> dict[str, str]:
    criteria = [criterion.name for criterion in design.criteria]
    if reason and not answers:
        return dict.fromkeys(criteria, Choice.SKIP.value)
    if reason:
        raise StudyError("a trial is either answered or skipped; send answers or a reason to skip")
    if not isinstance(answers, Mapping) or set(answers) != set(criteria):
        raise StudyError(
            f"an answer is needed by each of {', '.join(criteria)} and by no other criterion, or "
            "a reason to skip"
        )
    allowed = [
        choice.value
        for choice in (Choice.LEFT, Choice.RIGHT, *([Choice.TIE] if design.ties else []))
    ]
    for criterion, choice in answers.items():
        if choice not in allowed:
            raise StudyError(
                f"{criterion} is answered by {', '.join(allowed)}, not by {str(choice)[:20]!r}"
            )
    return {criterion: Choice(answers[criterion]).value for criterion in criteria}


def kept_trial(session: Session, client_id: str) -> str | None:
    """The trial of the stored submission with this id, None if there is none."""
    return session.scalar(select(VoteRow.trial).where(VoteRow.client_id == client_id).limit(1))


def kept_receipt(session: Session, submission: Submission) -> Receipt | None:
    """The first receipt of this submission, None if it is not stored; seconds are not compared.
    Raises `Conflict` if the stored one has another content.
    """
    rows = session.scalars(select(VoteRow).where(VoteRow.client_id == submission.client_id)).all()
    if not rows:
        return None
    kept = {(row.trial, row.criterion, row.choice, row.skip_reason) for row in rows}
    if kept != {
        (submission.trial, criterion, choice, submission.reason)
        for criterion, choice in submission.choices.items()
    }:
        raise Conflict(
            "this submission's id was used before with other content, which stays; use a new id "
            "for each submission"
        )
    return Receipt(rows[0].trial, rows[0].client_id, rows[0].received)


def add_votes(session: Session, submission: Submission, now: float) -> Receipt:
    """Adds the submission's votes after all earlier ones of its trial. Raises `Conflict` if its id
    was used in the meantime.
    """
    last = session.scalar(
        select(func.max(VoteRow.revision)).where(VoteRow.trial == submission.trial)
    )
    revision = 0 if last is None else last + 1
    session.add_all(
        VoteRow(
            trial=submission.trial,
            criterion=criterion,
            revision=revision,
            choice=choice,
            skip_reason=submission.reason,
            seconds=submission.seconds,
            client_id=submission.client_id,
            received=now,
        )
        for criterion, choice in submission.choices.items()
    )
    try:
        session.flush()
    except IntegrityError as error:
        raise Conflict(
            "this submission's id was used before; use a new id for each submission"
        ) from error
    return Receipt(submission.trial, submission.client_id, now)
