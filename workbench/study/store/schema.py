"""The tables of a study's database, which holds one study. Times are in seconds since 1970, UTC;
prompts and items are stored by their numbers in the design.

Votes and events are only ever added. The votes of a trial by one criterion are numbered
(`revision`): the one with the highest number is live, and since numbers are unique, two
submissions can never both follow the same vote. An undo adds votes with the choice "undone".

These classes describe the tables; only `migrations` creates or changes them, and a test compares
the two.
"""

from __future__ import annotations

from sqlalchemy import CheckConstraint, Float, ForeignKey, MetaData, String, Text, UniqueConstraint
from sqlalchemy.orm import DeclarativeBase, Mapped, mapped_column

OPEN, ANSWERED, SKIPPED = "open", "answered", "skipped"  # states of a trial
UNDONE = "undone"  # the choice of a vote that takes back an earlier one


class SchemaBase(DeclarativeBase):
    """The base of all tables; names every constraint."""

    metadata = MetaData(
        naming_convention={
            "pk": "pk_%(table_name)s",
            "uq": "uq_%(table_name)s_%(column_0_N_name)s",
            "fk": "fk_%(table_name)s_%(column_0_N_name)s",
            "ck": "ck_%(table_name)s_%(constraint_name)s",
            "ix": "ix_%(table_name)s_%(column_0_N_name)s",
        }
    )


class StudyRow(SchemaBase):
    """The one study: its design, frozen."""

    __tablename__ = "study"
    __table_args__ = (CheckConstraint("id = 1", name="one"),)

    id: Mapped[int] = mapped_column(primary_key=True, autoincrement=False, default=1)
    design: Mapped[str] = mapped_column(Text)  # JSON
    digest: Mapped[str] = mapped_column(String(12))
    created: Mapped[float] = mapped_column(Float)


class ParticipantRow(SchemaBase):
    """Someone who consented. Whoever has the token with this SHA-256 is this participant; the
    token itself is not stored.
    """

    __tablename__ = "participant"

    id: Mapped[str] = mapped_column(String(64), primary_key=True)
    token_sha256: Mapped[str] = mapped_column(String(64), unique=True)
    consent_version: Mapped[str] = mapped_column(String(12))
    consented: Mapped[float] = mapped_column(Float)
    finished: Mapped[float | None] = mapped_column(Float)


class TrialRow(SchemaBase):
    """One side-by-side question, given to a participant and theirs forever. While open it is
    reserved for some time, and may be answered even later.
    """

    __tablename__ = "trial"
    __table_args__ = (
        UniqueConstraint("participant", "position"),
        CheckConstraint("left_method <> right_method", name="sides"),
        CheckConstraint("kind IN ('practice', 'real', 'gold', 'repeat')", name="kind"),
        CheckConstraint("state IN ('open', 'answered', 'skipped')", name="state"),
    )

    id: Mapped[str] = mapped_column(String(64), primary_key=True)
    participant: Mapped[str] = mapped_column(ForeignKey("participant.id"))
    position: Mapped[int]
    kind: Mapped[str] = mapped_column(String(16))
    item: Mapped[int | None] = mapped_column(index=True)
    prompt: Mapped[int]
    left_method: Mapped[str] = mapped_column(Text)
    right_method: Mapped[str] = mapped_column(Text)
    expected: Mapped[str | None] = mapped_column(String(16))
    repeats: Mapped[str | None] = mapped_column(ForeignKey("trial.id"))
    left_image: Mapped[str] = mapped_column(String(64), unique=True)  # opaque tokens
    right_image: Mapped[str] = mapped_column(String(64), unique=True)
    state: Mapped[str] = mapped_column(String(16))
    given: Mapped[float] = mapped_column(Float)
    reserved_until: Mapped[float] = mapped_column(Float)
    shown: Mapped[float | None] = mapped_column(Float)


class VoteRow(SchemaBase):
    """One answer by one criterion. The answers of one submission share its client's id, which
    makes it harmless to send it again.
    """

    __tablename__ = "vote"
    __table_args__ = (
        UniqueConstraint("trial", "criterion", "revision"),
        UniqueConstraint("client_id", "criterion"),
        CheckConstraint("choice IN ('left', 'right', 'tie', 'skip', 'undone')", name="choice"),
    )

    id: Mapped[int] = mapped_column(primary_key=True)
    trial: Mapped[str] = mapped_column(ForeignKey("trial.id"))
    criterion: Mapped[str] = mapped_column(Text)
    revision: Mapped[int]  # 0, 1, 2, ...
    choice: Mapped[str] = mapped_column(String(16))
    skip_reason: Mapped[str] = mapped_column(Text)
    seconds: Mapped[float] = mapped_column(Float)
    client_id: Mapped[str] = mapped_column(String(36))
    received: Mapped[float] = mapped_column(Float)


class EventRow(SchemaBase):
    """Anything else that happened, with its time."""

    __tablename__ = "event"

    id: Mapped[int] = mapped_column(primary_key=True)
    participant: Mapped[str | None] = mapped_column(ForeignKey("participant.id"))
    kind: Mapped[str] = mapped_column(String(64))
    data: Mapped[str] = mapped_column(Text)  # JSON
    time: Mapped[float] = mapped_column(Float)
