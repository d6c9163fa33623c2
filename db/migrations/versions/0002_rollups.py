"""rollups of what ended, counts of what waits, vacuum by rows

Revision ID: 0002
Revises: 0001

Only adds. `jobs` is not rewritten and not locked for longer than a storage parameter takes; the one new index is on
`history`, where it has a row for each replay and none for anything else.
"""

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects import postgresql

revision = "0002"
down_revision = "0001"
branch_labels = None
depends_on = None

_MOMENT = postgresql.TIMESTAMP(timezone=True)

# Table → what it is set to, and what it was set to before ('' where it had nothing of its own).
_STORAGE: dict[str, dict[str, tuple[str, str]]] = {
    "jobs": {
        "autovacuum_vacuum_scale_factor": ("0.02", "0.05"),
        "autovacuum_vacuum_insert_scale_factor": ("0", ""),
        "autovacuum_vacuum_insert_threshold": ("100000", ""),
    },
    "ready": {"autovacuum_vacuum_cost_delay": ("0", "")},
    "running": {"autovacuum_vacuum_cost_delay": ("0", "")},
}


def upgrade() -> None:
    _create_rollups()
    op.create_table(
        "queue_counts",
        sa.Column("pool", sa.Text(), nullable=False),
        sa.Column("priority", sa.Text(), nullable=False),
        sa.Column("task", sa.Text(), nullable=False),
        sa.Column("due", sa.BigInteger(), nullable=False),
        sa.Column("scheduled", sa.BigInteger(), nullable=False),
        sa.Column("retrying", sa.Double(), nullable=False),
        sa.Column("counted_at", _MOMENT, nullable=False),
        sa.CheckConstraint("priority IN ('high', 'default', 'low')", name=op.f("queue_counts_priority")),
        sa.PrimaryKeyConstraint("pool", "priority", "task", name=op.f("queue_counts_pkey")),
        schema="errander",
    )
    op.create_index(
        "history_replayed",
        "history",
        ["at"],
        unique=False,
        schema="errander",
        postgresql_where=sa.text("event = 'replayed'"),
    )
    jobs, marks = _table("jobs", "id", "created_at"), _table("rollup_marks", "name", "folded_until")
    # Counting begins before the end of any job that is there: none ends before it is made, and ids grow with the time
    # that they are made at, by the clocks of API processes. Where there is none, it begins now.
    oldest = sa.select(jobs.c.created_at - sa.text("interval '1 day'")).order_by(jobs.c.id).limit(1).scalar_subquery()
    op.execute(
        sa.insert(marks).from_select(
            ["name", "folded_until"], sa.select(sa.literal("finished"), sa.func.coalesce(oldest, sa.func.now()))
        )
    )
    _set_storage(0)


def downgrade() -> None:
    _set_storage(1)
    op.drop_index(
        "history_replayed",
        table_name="history",
        schema="errander",
        postgresql_where=sa.text("event = 'replayed'"),
    )
    for table in ("queue_counts", "rollup_times", "rollups", "rollup_totals", "rollup_marks"):
        op.drop_table(table, schema="errander")


def _create_rollups() -> None:
    op.create_table(
        "rollup_marks",
        sa.Column("name", sa.Text(), nullable=False),
        sa.Column("folded_until", _MOMENT, nullable=False),
        sa.PrimaryKeyConstraint("name", name=op.f("rollup_marks_pkey")),
        schema="errander",
        postgresql_with={"fillfactor": "50"},
    )
    op.create_table(
        "rollup_totals",
        sa.Column("tenant", sa.Text(), nullable=False),
        sa.Column("status", sa.Text(), nullable=False),
        sa.Column("jobs", sa.BigInteger(), nullable=False),
        sa.PrimaryKeyConstraint("tenant", "status", name=op.f("rollup_totals_pkey")),
        schema="errander",
        postgresql_with={"fillfactor": "50"},
    )
    op.create_table(
        "rollups",
        sa.Column("span", sa.Integer(), nullable=False),
        sa.Column("at", _MOMENT, nullable=False),
        sa.Column("tenant", sa.Text(), nullable=False),
        sa.Column("pool", sa.Text(), nullable=False),
        sa.Column("priority", sa.Text(), nullable=False),
        sa.Column("task", sa.Text(), nullable=False),
        sa.Column("status", sa.Text(), nullable=False),
        sa.Column("finished", sa.BigInteger(), nullable=False),
        sa.Column("timed", sa.BigInteger(), nullable=False),
        sa.Column("waited", sa.Double(), nullable=False),
        sa.Column("ran", sa.Double(), nullable=False),
        sa.CheckConstraint("span IN (10, 60, 3600)", name=op.f("rollups_span")),
        sa.PrimaryKeyConstraint(
            "span", "at", "tenant", "pool", "priority", "task", "status", name=op.f("rollups_pkey")
        ),
        schema="errander",
    )
    op.create_table(
        "rollup_times",
        sa.Column("span", sa.Integer(), nullable=False),
        sa.Column("at", _MOMENT, nullable=False),
        sa.Column("tenant", sa.Text(), nullable=False),
        sa.Column("kind", sa.Text(), nullable=False),
        sa.Column("bin", sa.Integer(), nullable=False),
        sa.Column("jobs", sa.BigInteger(), nullable=False),
        sa.CheckConstraint("span IN (10, 60, 3600)", name=op.f("rollup_times_span")),
        sa.CheckConstraint("kind IN ('wait', 'run')", name=op.f("rollup_times_kind")),
        sa.PrimaryKeyConstraint("span", "at", "tenant", "kind", "bin", name=op.f("rollup_times_pkey")),
        schema="errander",
    )


def _table(name: str, *columns: str) -> sa.Table:
    # A whole Table, because the schema is translated in nothing less.
    return sa.Table(name, sa.MetaData(), *(sa.Column(column) for column in columns), schema="errander")


def _set_storage(which: int) -> None:
    for table, parameters in _STORAGE.items():
        # the schema is translated in what SQLAlchemy compiles, not in text, so its name is taken from there
        schema = op.get_bind().get_execution_options()["schema_translate_map"]["errander"]
        values = {name: pair[which] for name, pair in parameters.items()}
        for name, value in values.items():
            change = f"SET ({name} = {value})" if value else f"RESET ({name})"
            op.execute(f'ALTER TABLE "{schema}".{table} {change}')
