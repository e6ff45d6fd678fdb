"""The first schema: study, participant, trial, vote, event."""

import sqlalchemy as sa
from alembic import op

revision = "0001"
down_revision = None


def upgrade() -> None:
    """Creates all tables."""
    op.create_table(
        "study",
        sa.Column("id", sa.Integer(), autoincrement=False, nullable=False),
        sa.Column("design", sa.Text(), nullable=False),
        sa.Column("digest", sa.String(12), nullable=False),
        sa.Column("created", sa.Float(), nullable=False),
        sa.PrimaryKeyConstraint("id", name="pk_study"),
        sa.CheckConstraint("id = 1", name=op.f("ck_study_one")),
    )
    op.create_table(
        "participant",
        sa.Column("id", sa.String(64), nullable=False),
        sa.Column("token_sha256", sa.String(64), nullable=False),
        sa.Column("consent_version", sa.String(12), nullable=False),
        sa.Column("consented", sa.Float(), nullable=False),
        sa.Column("finished", sa.Float(), nullable=True),
        sa.PrimaryKeyConstraint("id", name="pk_participant"),
        sa.UniqueConstraint("token_sha256", name="uq_participant_token_sha256"),
    )
    op.create_table(
        "trial",
        sa.Column("id", sa.String(64), nullable=False),
        sa.Column("participant", sa.String(64), nullable=False),
        sa.Column("position", sa.Integer(), nullable=False),
        sa.Column("kind", sa.String(16), nullable=False),
        sa.Column("item", sa.Integer(), nullable=True),
        sa.Column("prompt", sa.Integer(), nullable=False),
        sa.Column("left_method", sa.Text(), nullable=False),
        sa.Column("right_method", sa.Text(), nullable=False),
        sa.Column("expected", sa.String(16), nullable=True),
        sa.Column("repeats", sa.String(64), nullable=True),
        sa.Column("left_image", sa.String(64), nullable=False),
        sa.Column("right_image", sa.String(64), nullable=False),
        sa.Column("state", sa.String(16), nullable=False),
        sa.Column("given", sa.Float(), nullable=False),
        sa.Column("reserved_until", sa.Float(), nullable=False),
        sa.Column("shown", sa.Float(), nullable=True),
        sa.PrimaryKeyConstraint("id", name="pk_trial"),
        sa.ForeignKeyConstraint(["participant"], ["participant.id"], name="fk_trial_participant"),
        sa.ForeignKeyConstraint(["repeats"], ["trial.id"], name="fk_trial_repeats"),
        sa.UniqueConstraint("participant", "position", name="uq_trial_participant_position"),
        sa.UniqueConstraint("left_image", name="uq_trial_left_image"),
        sa.UniqueConstraint("right_image", name="uq_trial_right_image"),
        sa.CheckConstraint("left_method <> right_method", name=op.f("ck_trial_sides")),
        sa.CheckConstraint(
            "kind IN ('practice', 'real', 'gold', 'repeat')", name=op.f("ck_trial_kind")
        ),
        sa.CheckConstraint("state IN ('open', 'answered', 'skipped')", name=op.f("ck_trial_state")),
    )
    op.create_index("ix_trial_item", "trial", ["item"])
    op.create_table(
        "vote",
        sa.Column("id", sa.Integer(), nullable=False),
        sa.Column("trial", sa.String(64), nullable=False),
        sa.Column("criterion", sa.Text(), nullable=False),
        sa.Column("revision", sa.Integer(), nullable=False),
        sa.Column("choice", sa.String(16), nullable=False),
        sa.Column("skip_reason", sa.Text(), nullable=False),
        sa.Column("seconds", sa.Float(), nullable=False),
        sa.Column("client_id", sa.String(36), nullable=False),
        sa.Column("received", sa.Float(), nullable=False),
        sa.PrimaryKeyConstraint("id", name="pk_vote"),
        sa.ForeignKeyConstraint(["trial"], ["trial.id"], name="fk_vote_trial"),
        sa.UniqueConstraint(
            "trial", "criterion", "revision", name="uq_vote_trial_criterion_revision"
        ),
        sa.UniqueConstraint("client_id", "criterion", name="uq_vote_client_id_criterion"),
        sa.CheckConstraint(
            "choice IN ('left', 'right', 'tie', 'skip', 'undone')", name=op.f("ck_vote_choice")
        ),
    )
    op.create_table(
        "event",
        sa.Column("id", sa.Integer(), nullable=False),
        sa.Column("participant", sa.String(64), nullable=True),
        sa.Column("kind", sa.String(64), nullable=False),
        sa.Column("data", sa.Text(), nullable=False),
        sa.Column("time", sa.Float(), nullable=False),
        sa.PrimaryKeyConstraint("id", name="pk_event"),
        sa.ForeignKeyConstraint(["participant"], ["participant.id"], name="fk_event_participant"),
    )


def downgrade() -> None:
    """Drops all tables."""
    for table in ("event", "vote", "trial", "participant", "study"):
        op.drop_table(table)
