"""Stores a study: participants, their trials and every vote, in a database that parallel servers
and clients share.

A call returns after its commit, so acknowledged data are kept, whatever happens to the process. A
submission carries an id made by the client: sent again, immediately or in parallel, it counts once
and gets the same receipt. Votes never change: an undo adds votes that take earlier ones back. A
trial belongs to its participant forever. Its reservation only delays giving the item to others, so
a late vote counts too. An answer to an answered trial is refused with `Conflict` and goes to the
event log: nothing vanishes silently.

Writes of one participant run one after another: SQLite has one writer at a time, PostgreSQL locks
the participant's row, and also the study's while a trial is drawn. Every method may raise `Busy`.
Not here: the tables (`schema`), the database's settings (`database`), valid submissions (`votes`),
the assignment of trials (`assignment`).
"""

from __future__ import annotations

import base64
import contextlib
import hashlib
import json
import secrets
import threading
import time
import uuid
from collections.abc import Iterator, Mapping
from dataclasses import asdict
from pathlib import Path

from sqlalchemy import Engine, func, select, update
from sqlalchemy.orm import Session

from workbench.io.strict_json import to_json
from workbench.study.assignment import next_trial
from workbench.study.ballots import Ballot
from workbench.study.design import StudyDesign, digest_of
from workbench.study.errors import Conflict, NotKnown, StudyError
from workbench.study.store import records
from workbench.study.store.database import (
    as_study_errors,
    backup_sqlite,
    engine_of,
    schema_revision,
    upgrade,
    without_password,
    writing,
)
from workbench.study.store.records import (
    Joined,
    ParticipantProgress,
    Receipt,
    Status,
    Stimulus,
    StoredEvent,
    Trial,
    trial_of,
)
from workbench.study.store.schema import (
    ANSWERED,
    OPEN,
    SKIPPED,
    EventRow,
    ParticipantRow,
    StudyRow,
    TrialRow,
)
from workbench.study.store.votes import (
    Submission,
    add_votes,
    answering,
    clean,
    kept_receipt,
    kept_trial,
    undoing,
    uuid_of,
)

LONGEST_EVENT, LONGEST_KIND = 20_000, 64  # characters


class Store:
    """A study's database. `Store.create` creates one, `Store.open` opens one; threads may share a
    store, each process opens its own.
    """

    def __init__(self, engine: Engine, design: StudyDesign):
        self.design = design
        self._engine, self._writer = engine, writing(engine)
        sqlite = engine.dialect.name == "sqlite"
        # fairer and faster than SQLite's own waiting
        self._turn = threading.Lock() if sqlite else contextlib.nullcontext()

    @classmethod
    def create(cls, where: str | Path, design: StudyDesign) -> Store:
        """A new study in a file, or at an address (postgresql://...). Raises `StudyError` if one
        exists already.
        """
        engine = engine_of(where, create=True)
        with _opening(engine), Session(writing(engine)) as session, session.begin():
            upgrade(session.connection())
            if old := session.get(StudyRow, 1):
                raise StudyError(
                    f"there is a study already ({old.digest}), and it stays unchanged: open it, or "
                    "create this one elsewhere"
                )
            session.add(
                StudyRow(design=design.to_json(), digest=design.digest, created=time.time())
            )
        return cls(engine, design)

    @classmethod
    def open(cls, where: str | Path) -> Store:
        """The study in a file or at an address; upgrades an older schema. Raises `StudyError` if
        there is no readable study.
        """
        engine = engine_of(where)
        with _opening(engine), Session(writing(engine)) as session, session.begin():
            if schema_revision(session.connection()) is None:
                raise StudyError(
                    f"there is no study in {without_password(str(where))}; create one first"
                )
            upgrade(session.connection())
            if (row := session.get(StudyRow, 1)) is None:
                raise StudyError(
                    f"there are only empty tables in {without_password(str(where))}; create a "
                    "study first"
                )
            if digest_of(json.loads(row.design)) != row.digest:
                raise StudyError(
                    f"the design of the study {row.digest} was altered after its start; restore "
                    "the database from a backup"
                )
            return cls(engine, StudyDesign.from_json(row.design))

    def close(self) -> None:
        """Closes all connections."""
        self._engine.dispose()

    def __enter__(self) -> Store:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def join(self, consent: bool, client_id: str = "") -> Joined:
        """A new participant and their secret token, which is not stored. Raises `StudyError`
        without consent.

        `client_id` is a secret drawn by the client, of the form `records.JOIN_ID`. Joining again
        with it, in parallel or later, gives the same participant and token, so a client that lost
        the response can repeat the request. The token is derived from it, so it need not be
        stored to be sent again.
        """
        if consent is not True:
            raise StudyError("nobody takes part without consent; ask for consent before joining")
        joined = Joined(
            secrets.token_hex(8),
            self._token_of(client_id) if client_id else secrets.token_urlsafe(24),
        )
        with self._writing() as session:
            if client_id:
                # of several in parallel, the first creates the participant, the others find it
                session.execute(select(StudyRow.id).with_for_update())
                found = session.scalar(
                    select(ParticipantRow.id).where(
                        ParticipantRow.token_sha256 == _sha256(joined.token)
                    )
                )
                if found is not None:
                    return Joined(found, joined.token)
            session.add(
                ParticipantRow(
                    id=joined.participant,
                    token_sha256=_sha256(joined.token),
                    consent_version=self.design.consent_version,
                    consented=time.time(),
                )
            )
        return joined

    def _token_of(self, client_id: str) -> str:
        if not isinstance(client_id, str) or not records.JOIN_ID.fullmatch(client_id):
            raise StudyError(
                "the id for joining must be 64 random hexadecimal digits; it is as secret as a "
                "token"
            )
        digest = hashlib.sha256(f"{self.design.digest} {client_id}".encode()).digest()
        return base64.urlsafe_b64encode(digest[:24]).decode()

    def participant_of(self, token: str) -> str:
        """The participant with this secret token. Raises `NotKnown`."""
        if not records.is_name(token):
            raise NotKnown("this link belongs to no participant of this study; join again")
        with self._reading() as session:
            found = session.scalar(
                select(ParticipantRow.id).where(ParticipantRow.token_sha256 == _sha256(token))
            )
        if found is None:
            raise NotKnown("this link belongs to no participant of this study; join again")
        return found

    def next_trial(self, participant: str, now: float | None = None) -> Trial | None:
        """The participant's first open trial, the same on every device, or else a new one; None
        when all are answered. Reserves it from now on.
        """
        now = time.time() if now is None else now
        with self._writing_of(participant) as session:
            row = session.scalar(
                records.trials_of(participant)
                .where(TrialRow.state == OPEN)
                .order_by(TrialRow.position)
                .limit(1)
            )
            row = row or self._drawn(session, participant, now)
            if row is None:
                return None
            row.reserved_until = max(row.reserved_until, now + 60 * self.design.expires_minutes)
            return trial_of(row, self.design)

    def _drawn(self, session: Session, participant: str, now: float) -> TrialRow | None:
        # one draw at a time, so that each sees the others' reservations
        session.execute(select(StudyRow.id).with_for_update())
        # votes that will not count leave their items to others
        failed = records.failed_out(session, self.design)
        drawn = next_trial(
            self.design,
            participant,
            records.given_to(session, participant),
            records.taken_by_item(session, now, failed),
        )
        if drawn is None:
            return None
        row = TrialRow(
            id=secrets.token_hex(12),
            participant=participant,
            position=drawn.position,
            kind=drawn.kind,
            item=drawn.item,
            prompt=drawn.prompt,
            left_method=drawn.left,
            right_method=drawn.right,
            repeats=drawn.repeats or None,
            expected=drawn.expected.value if drawn.expected else None,
            left_image=secrets.token_urlsafe(18),
            right_image=secrets.token_urlsafe(18),
            state=OPEN,
            given=now,
            reserved_until=now,
        )
        session.add(row)
        return row

    def shown(self, participant: str, trial: str, now: float | None = None) -> None:
        """Records when the trial's pictures were first shown."""
        with self._writing_of(participant) as session:
            row = records.own_trial(session, participant, trial)
            row.shown = row.shown or (time.time() if now is None else now)

    def vote(
        self,
        participant: str,
        trial: str,
        answers: Mapping[str, str],
        client_id: str,
        seconds: float,
        skip_reason: str = "",
        now: float | None = None,
    ) -> Receipt:
        """The receipt of an answer by every criterion (left, right or tie), or of skipping the
        trial, with a `skip_reason` and no answers.

        `client_id` is the UUID of this submission; a stored one with the same answers gets its
        first receipt again (seconds are not compared). Raises `NotKnown` for a trial that is not
        the participant's, `Conflict` for an answered trial (undo first) and for the id of another
        submission, `StudyError` for anything else that is not a valid answer.
        """
        submission = answering(self.design, trial, answers, client_id, seconds, skip_reason)
        now = time.time() if now is None else now
        try:
            with self._writing_of(participant) as session:
                return self._voted(session, participant, submission, now)
        except Conflict:
            self.log(participant, "refused vote", {"submission": asdict(submission)}, now)
            raise

    def _voted(
        self, session: Session, participant: str, submission: Submission, now: float
    ) -> Receipt:
        row = records.own_trial(session, participant, submission.trial)
        if receipt := kept_receipt(session, submission):
            return receipt
        if row.state != OPEN:
            raise Conflict(
                "this trial is answered already, so this answer was not saved; load the next "
                "trial, or undo first"
            )
        receipt = add_votes(session, submission, now)
        row.state = SKIPPED if submission.skips else ANSWERED
        session.flush()
        if self._progress(session, participant).finished:
            _set_finished(session, participant, now)
        return receipt

    def undo(
        self, participant: str, trial: str = "", client_id: str = "", now: float | None = None
    ) -> Trial:
        """The last answered trial, open again: new votes take back its votes.

        With `trial` only that one is opened, and an open one is returned unchanged; with
        `client_id` a repeated call changes nothing, so a client that lost the response may repeat
        the request. Raises `StudyError` if nothing was answered, `Conflict` for a trial that is
        not the last, `NotKnown` for one that is not the participant's.
        """
        client_id, now = (
            uuid_of(client_id or str(uuid.uuid4())),
            time.time() if now is None else now,
        )
        with self._writing_of(participant) as session:
            trial = (
                trial
                or kept_trial(session, client_id)
                or records.last_answered(session, participant)
            )
            if not trial:
                raise StudyError("there is no answer to undo yet")
            row, submission = (
                records.own_trial(session, participant, trial),
                undoing(self.design, trial, client_id),
            )
            if row.state != OPEN and not kept_receipt(session, submission):
                if row.id != records.last_answered(session, participant):
                    raise Conflict("only the last answered trial can be undone; load it again")
                add_votes(session, submission, now)
                row.state, row.reserved_until = OPEN, now + 60 * self.design.expires_minutes
                _set_finished(session, participant, None)
            return trial_of(row, self.design)

    def progress(self, participant: str) -> ParticipantProgress:
        """How far a participant is. Raises `NotKnown`."""
        with self._reading() as session:
            records.check_known(session, participant)
            return self._progress(session, participant)

    def _progress(self, session: Session, participant: str) -> ParticipantProgress:
        answered = records.trials_of(participant).where(
            TrialRow.state != OPEN, TrialRow.position > 0
        )
        done = session.scalar(select(func.count()).select_from(answered.subquery())) or 0
        return ParticipantProgress(
            done,
            self.design.length,
            records.last_answered(session, participant),
            done >= self.design.length,
        )

    def notice(self, participant: str) -> str:
        """What the participant is told beside the next trial (`analysis.notices`), "" if
        nothing.
        """
        with self._reading() as session:
            return records.notice_now(session, self.design, participant)

    def image_of(self, token: str) -> Stimulus:
        """The meaning of a picture's token, only for the server: the picture may be sent to the
        participant named in it and no one else. Raises `NotKnown`.
        """
        with self._reading() as session:
            return records.stimulus_of(session, self.design, token)

    def status(self, now: float | None = None) -> Status:
        """The state of the whole study, for its owner."""
        with self._reading() as session:
            return records.status_of(session, self.design, time.time() if now is None else now)

    def ballots(self) -> list[Ballot]:
        """The votes that count, by participant, position and criterion."""
        with self._reading() as session:
            return records.ballots_of(session, self.design)

    def events(self) -> list[StoredEvent]:
        """All logged events, oldest first."""
        with self._reading() as session:
            return records.events_of(session)

    def log(
        self, participant: str | None, kind: str, data: Mapping, now: float | None = None
    ) -> None:
        """Logs an event with JSON-serialisable `data`. Raises `StudyError` if it is too long,
        `NotKnown` for an unknown participant.
        """
        try:
            content = to_json(data)
        except (TypeError, ValueError) as error:
            raise StudyError(f"an event's data must be JSON-serialisable: {error}") from error
        if (
            len(content) > LONGEST_EVENT
            or not isinstance(kind, str)
            or not 0 < len(kind) <= LONGEST_KIND
        ):
            raise StudyError(
                f"an event has a kind of 1 to {LONGEST_KIND} characters and at most "
                f"{LONGEST_EVENT} characters of data"
            )
        with self._writing() as session:
            if participant is not None:
                records.check_known(session, participant)
            session.add(
                EventRow(
                    participant=participant,
                    kind=clean(kind),
                    data=content,
                    time=time.time() if now is None else now,
                )
            )

    def backup(self, path: str | Path) -> Path:
        """Copies the database, even while it is in use, to a new file. Raises `StudyError`, also
        for PostgreSQL, which has its own backup.
        """
        if self._engine.dialect.name != "sqlite":
            raise StudyError(
                "PostgreSQL has its own backup: pg_dump --format=custom --file=FILE ADDRESS"
            )
        if Path(path).exists():
            raise StudyError(f"{path} exists already; give the path of a new file")
        with as_study_errors():
            backup_sqlite(self._engine, Path(path))
        return Path(path)

    @contextlib.contextmanager
    def _writing(self) -> Iterator[Session]:
        """A transaction that commits at the end and is rolled back by any error."""
        with (
            self._turn,
            as_study_errors(),
            Session(self._writer, expire_on_commit=False) as session,
            session.begin(),
        ):
            yield session

    @contextlib.contextmanager
    def _writing_of(self, participant: str) -> Iterator[Session]:
        """The same, with one transaction at a time per participant. Raises `NotKnown`."""
        with self._writing() as session:
            records.check_known(session, participant, lock=True)
            yield session

    @contextlib.contextmanager
    def _reading(self) -> Iterator[Session]:
        with as_study_errors(), Session(self._engine) as session:
            yield session


@contextlib.contextmanager
def _opening(engine: Engine) -> Iterator[None]:
    """Leaves no connection open if opening fails."""
    try:
        with as_study_errors():
            yield
    except BaseException:
        engine.dispose()
        raise


def _set_finished(session: Session, participant: str, time: float | None) -> None:
    session.execute(
        update(ParticipantRow).where(ParticipantRow.id == participant).values(finished=time)
    )


def _sha256(token: str) -> str:
    return hashlib.sha256(token.encode()).hexdigest()
