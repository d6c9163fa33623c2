"""first schema

Revision ID: 0001
Revises:
"""

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects import postgresql

revision = "0001"
down_revision = None
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.create_table(
        "history",
        sa.Column("id", sa.BigInteger(), sa.Identity(always=True), nullable=False),
        sa.Column("job_id", sa.Uuid(), nullable=False),
        sa.Column("at", postgresql.TIMESTAMP(timezone=True), server_default=sa.text("now()"), nullable=False),
        sa.Column("event", sa.Text(), nullable=False),
        sa.Column("status", sa.Text(), nullable=False),
        sa.Column("attempt", sa.Integer(), nullable=False),
        sa.Column("worker_id", sa.Uuid(), nullable=True),
        sa.Column("by", sa.Text(), nullable=True),
        sa.Column("detail", postgresql.JSONB(astext_type=sa.Text()), nullable=True),
        sa.Column("started_at", postgresql.TIMESTAMP(timezone=True), nullable=True),
        sa.PrimaryKeyConstraint("id", name=op.f("history_pkey")),
        schema="errander",
    )
    op.create_index("history_job", "history", ["job_id", "id"], unique=False, schema="errander")
    op.create_table(
        "idempotency_keys",
        sa.Column("tenant", sa.Text(), nullable=False),
        sa.Column("route", sa.Text(), nullable=False),
        sa.Column("key", sa.Text(), nullable=False),
        sa.Column("content", postgresql.JSONB(astext_type=sa.Text()), nullable=False),
        sa.Column("job_ids", postgresql.ARRAY(sa.Uuid()), nullable=False),
        sa.Column("created_at", postgresql.TIMESTAMP(timezone=True), server_default=sa.text("now()"), nullable=False),
        sa.Column("check_after", postgresql.TIMESTAMP(timezone=True), nullable=False),
        sa.PrimaryKeyConstraint("tenant", "route", "key", name=op.f("idempotency_keys_pkey")),
        schema="errander",
    )
    op.create_index("idempotency_keys_check", "idempotency_keys", ["check_after"], unique=False, schema="errander")
    op.create_table(
        "jobs",
        sa.Column("id", sa.Uuid(), nullable=False),
        sa.Column("tenant", sa.Text(), nullable=False),
        sa.Column("task", sa.Text(), nullable=False),
        sa.Column("pool", sa.Text(), nullable=False),
        sa.Column("priority", sa.Text(), nullable=False),
        sa.Column("status", sa.Text(), nullable=False),
        sa.Column("payload", postgresql.JSONB(astext_type=sa.Text()), nullable=False),
        sa.Column("attempt", sa.Integer(), server_default=sa.text("0"), nullable=False),
        sa.Column("failures", sa.Integer(), server_default=sa.text("0"), nullable=False),
        sa.Column("crashes", sa.Integer(), server_default=sa.text("0"), nullable=False),
        sa.Column("replays", sa.Integer(), server_default=sa.text("0"), nullable=False),
        sa.Column("max_attempts", sa.Integer(), nullable=False),
        sa.Column("max_crashes", sa.Integer(), nullable=False),
        sa.Column("timeout", sa.Double(), nullable=False),
        sa.Column("backoff", postgresql.JSONB(astext_type=sa.Text()), nullable=False),
        sa.Column("run_at", postgresql.TIMESTAMP(timezone=True), nullable=False),
        sa.Column("created_at", postgresql.TIMESTAMP(timezone=True), nullable=False),
        sa.Column("started_at", postgresql.TIMESTAMP(timezone=True), nullable=True),
        sa.Column("finished_at", postgresql.TIMESTAMP(timezone=True), nullable=True),
        sa.Column("failed_at", postgresql.TIMESTAMP(timezone=True), nullable=True),
        sa.Column("expires_at", postgresql.TIMESTAMP(timezone=True), nullable=True),
        sa.Column("cancel_requested_at", postgresql.TIMESTAMP(timezone=True), nullable=True),
        sa.Column("cancelled_by", sa.Text(), nullable=True),
        sa.Column("cancel_reason", sa.Text(), nullable=True),
        sa.Column("worker_id", sa.Uuid(), nullable=True),
        sa.Column("result", postgresql.JSONB(astext_type=sa.Text()), nullable=True),
        sa.Column(
            "errors", postgresql.JSONB(astext_type=sa.Text()), server_default=sa.text("'[]'::jsonb"), nullable=False
        ),
        sa.Column("progress", postgresql.JSONB(astext_type=sa.Text()), nullable=True),
        sa.Column(
            "tags", postgresql.JSONB(astext_type=sa.Text()), server_default=sa.text("'[]'::jsonb"), nullable=False
        ),
        sa.Column(
            "metadata", postgresql.JSONB(astext_type=sa.Text()), server_default=sa.text("'{}'::jsonb"), nullable=False
        ),
        sa.Column("idempotency_key", sa.Text(), nullable=True),
        sa.Column("unique_key", sa.Text(), nullable=True),
        sa.Column("depends_on", postgresql.ARRAY(sa.Uuid()), server_default=sa.text("'{}'::uuid[]"), nullable=False),
        sa.Column("parent_id", sa.Uuid(), nullable=True),
        sa.Column("schedule_id", sa.Uuid(), nullable=True),
        sa.Column("workflow_id", sa.Uuid(), nullable=True),
        sa.CheckConstraint("(status = 'CANCELLED') <= (cancelled_by IS NOT NULL)", name=op.f("jobs_cancelled")),
        sa.CheckConstraint("(status = 'FAILED') = (failed_at IS NOT NULL)", name=op.f("jobs_failed")),
        sa.CheckConstraint(
            "(status IN ('SUCCESS', 'FAILED', 'CANCELLED')) = (finished_at IS NOT NULL)", name=op.f("jobs_finished")
        ),
        sa.CheckConstraint("priority IN ('high', 'default', 'low')", name=op.f("jobs_priority")),
        sa.CheckConstraint(
            "status <> 'RUNNING' OR (worker_id IS NOT NULL AND started_at IS NOT NULL)", name=op.f("jobs_held")
        ),
        sa.CheckConstraint(
            "status IN ('WAITING', 'PENDING', 'RUNNING', 'RETRYING', 'SUCCESS', 'FAILED', 'CANCELLED')",
            name=op.f("jobs_status"),
        ),
        sa.CheckConstraint(
            "attempt >= 0 AND failures >= 0 AND crashes >= 0 AND replays >= 0 AND max_attempts >= 1 AND max_crashes >= 1",
            name=op.f("jobs_budgets"),
        ),
        sa.CheckConstraint("timeout > 0", name=op.f("jobs_timeout")),
        sa.PrimaryKeyConstraint("id", name=op.f("jobs_pkey")),
        schema="errander",
        postgresql_with={"fillfactor": "50", "autovacuum_vacuum_scale_factor": "0.05"},
    )
    op.create_index(
        "jobs_failed",
        "jobs",
        ["tenant", sa.literal_column("failed_at DESC"), sa.literal_column("id DESC")],
        unique=False,
        schema="errander",
        postgresql_where=sa.text("failed_at IS NOT NULL"),
    )
    op.create_index(
        "jobs_finished",
        "jobs",
        ["finished_at"],
        unique=False,
        schema="errander",
        postgresql_using="brin",
        postgresql_with={"autosummarize": "on"},
    )
    op.create_index("jobs_newest", "jobs", ["tenant", sa.literal_column("id DESC")], unique=False, schema="errander")
    op.create_table(
        "leaders",
        sa.Column("name", sa.Text(), nullable=False),
        sa.Column("worker_id", sa.Uuid(), nullable=False),
        sa.Column("term", sa.BigInteger(), nullable=False),
        sa.Column("until", postgresql.TIMESTAMP(timezone=True), nullable=False),
        sa.PrimaryKeyConstraint("name", name=op.f("leaders_pkey")),
        schema="errander",
    )
    op.create_table(
        "queue_pauses",
        sa.Column("pool", sa.Text(), nullable=False),
        sa.Column("priority", sa.Text(), nullable=False),
        sa.Column("at", postgresql.TIMESTAMP(timezone=True), server_default=sa.text("now()"), nullable=False),
        sa.Column("reason", sa.Text(), nullable=True),
        sa.CheckConstraint("priority IN ('high', 'default', 'low')", name=op.f("queue_pauses_priority")),
        sa.PrimaryKeyConstraint("pool", "priority", name=op.f("queue_pauses_pkey")),
        schema="errander",
    )
    op.create_table(
        "ready",
        sa.Column("id", sa.Uuid(), nullable=False),
        sa.Column("tenant", sa.Text(), nullable=False),
        sa.Column("pool", sa.Text(), nullable=False),
        sa.Column("priority", sa.Text(), nullable=False),
        sa.Column("task", sa.Text(), nullable=False),
        sa.Column("run_at", postgresql.TIMESTAMP(timezone=True), nullable=False),
        sa.Column("expires_at", postgresql.TIMESTAMP(timezone=True), nullable=True),
        sa.PrimaryKeyConstraint("id", name=op.f("ready_pkey")),
        schema="errander",
        postgresql_with={
            "autovacuum_vacuum_scale_factor": "0.01",
            "autovacuum_vacuum_threshold": "5000",
            "autovacuum_analyze_scale_factor": "0.05",
        },
    )
    op.create_index(
        "ready_expiry",
        "ready",
        ["expires_at"],
        unique=False,
        schema="errander",
        postgresql_where=sa.text("expires_at IS NOT NULL"),
    )
    op.create_index(
        "ready_head", "ready", ["pool", "priority", "task", "run_at", "id"], unique=False, schema="errander"
    )
    op.create_table(
        "running",
        sa.Column("id", sa.Uuid(), nullable=False),
        sa.Column("attempt", sa.Integer(), nullable=False),
        sa.Column("worker_id", sa.Uuid(), nullable=False),
        sa.Column("pool", sa.Text(), nullable=False),
        sa.Column("priority", sa.Text(), nullable=False),
        sa.PrimaryKeyConstraint("id", name=op.f("running_pkey")),
        schema="errander",
        postgresql_with={
            "autovacuum_vacuum_scale_factor": "0.01",
            "autovacuum_vacuum_threshold": "5000",
            "autovacuum_analyze_scale_factor": "0.05",
        },
    )
    op.create_index("running_worker", "running", ["worker_id"], unique=False, schema="errander")
    op.create_table(
        "task_pauses",
        sa.Column("task", sa.Text(), nullable=False),
        sa.Column("at", postgresql.TIMESTAMP(timezone=True), server_default=sa.text("now()"), nullable=False),
        sa.Column("reason", sa.Text(), nullable=True),
        sa.PrimaryKeyConstraint("task", name=op.f("task_pauses_pkey")),
        schema="errander",
    )
    op.create_table(
        "tasks",
        sa.Column("name", sa.Text(), nullable=False),
        sa.Column("schema_hash", sa.Text(), nullable=False),
        sa.Column("payload_schema", postgresql.JSONB(astext_type=sa.Text()), nullable=False),
        sa.Column("result_schema", postgresql.JSONB(astext_type=sa.Text()), nullable=True),
        sa.Column("defaults", postgresql.JSONB(astext_type=sa.Text()), nullable=False),
        sa.Column("announced_at", postgresql.TIMESTAMP(timezone=True), server_default=sa.text("now()"), nullable=False),
        sa.PrimaryKeyConstraint("name", "schema_hash", name=op.f("tasks_pkey")),
        schema="errander",
    )
    op.create_table(
        "workers",
        sa.Column("id", sa.Uuid(), nullable=False),
        sa.Column("pool", sa.Text(), nullable=False),
        sa.Column("priorities", postgresql.ARRAY(sa.Text()), nullable=False),
        sa.Column("tasks", postgresql.JSONB(astext_type=sa.Text()), nullable=False),
        sa.Column("host", sa.Text(), nullable=False),
        sa.Column("pid", sa.Integer(), nullable=False),
        sa.Column("version", sa.Text(), nullable=False),
        sa.Column("slots", sa.Integer(), nullable=False),
        sa.Column("running", sa.Integer(), server_default=sa.text("0"), nullable=False),
        sa.Column("started_at", postgresql.TIMESTAMP(timezone=True), server_default=sa.text("now()"), nullable=False),
        sa.Column("beat_at", postgresql.TIMESTAMP(timezone=True), server_default=sa.text("now()"), nullable=False),
        sa.Column("dead_at", postgresql.TIMESTAMP(timezone=True), nullable=True),
        sa.Column("drain_requested_at", postgresql.TIMESTAMP(timezone=True), nullable=True),
        sa.Column("metrics_port", sa.Integer(), nullable=True),
        sa.Column(
            "info", postgresql.JSONB(astext_type=sa.Text()), server_default=sa.text("'{}'::jsonb"), nullable=False
        ),
        sa.PrimaryKeyConstraint("id", name=op.f("workers_pkey")),
        schema="errander",
        postgresql_with={"fillfactor": "50"},
    )


def downgrade() -> None:
    op.drop_table("workers", schema="errander")
    op.drop_table("tasks", schema="errander")
    op.drop_table("task_pauses", schema="errander")
    op.drop_index("running_worker", table_name="running", schema="errander")
    op.drop_table("running", schema="errander")
    op.drop_index("ready_head", table_name="ready", schema="errander")
    op.drop_index(
        "ready_expiry", table_name="ready", schema="errander", postgresql_where=sa.text("expires_at IS NOT NULL")
    )
    op.drop_table("ready", schema="errander")
    op.drop_table("queue_pauses", schema="errander")
    op.drop_table("leaders", schema="errander")
    op.drop_index("jobs_newest", table_name="jobs", schema="errander")
    op.drop_index(
        "jobs_finished",
        table_name="jobs",
        schema="errander",
        postgresql_using="brin",
        postgresql_with={"autosummarize": "on"},
    )
    op.drop_index(
        "jobs_failed", table_name="jobs", schema="errander", postgresql_where=sa.text("failed_at IS NOT NULL")
    )
    op.drop_table("jobs", schema="errander")
    op.drop_index("idempotency_keys_check", table_name="idempotency_keys", schema="errander")
    op.drop_table("idempotency_keys", schema="errander")
    op.drop_index("history_job", table_name="history", schema="errander")
    op.drop_table("history", schema="errander")
