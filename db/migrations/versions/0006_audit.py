"""the audit log

Revision ID: 0006
Revises: 0005

Only adds. The triggers are what makes the log append-only; the models cannot say them.
"""

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects import postgresql

revision = "0006"
down_revision = "0005"
branch_labels = None
depends_on = None

# {schema} is the one of the settings, quoted. The pruner's setting holds for its own transaction: see prune_audit.sql.
_FUNCTION = """
CREATE FUNCTION {schema}.audit_refuse() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    IF TG_OP = 'DELETE' AND current_setting('errander_audit.prune', true) = 'on' THEN
        RETURN OLD;
    END IF;
    RAISE EXCEPTION 'the audit log is append-only: % is refused', TG_OP USING ERRCODE = 'restrict_violation';
END $$
"""
_OF_ROWS = """
CREATE TRIGGER audit_rows BEFORE UPDATE OR DELETE ON {schema}.audit
FOR EACH ROW EXECUTE FUNCTION {schema}.audit_refuse()
"""
_OF_THE_WHOLE = """
CREATE TRIGGER audit_whole BEFORE TRUNCATE ON {schema}.audit
FOR EACH STATEMENT EXECUTE FUNCTION {schema}.audit_refuse()
"""


def upgrade() -> None:
    op.create_table(
        "audit",
        sa.Column("id", sa.BigInteger(), sa.Identity(always=True), nullable=False),
        sa.Column("at", postgresql.TIMESTAMP(timezone=True), server_default=sa.text("now()"), nullable=False),
        sa.Column("tenant", sa.Text(), nullable=False),
        sa.Column("actor", sa.Text(), nullable=False),
        sa.Column("actor_key", sa.Text(), nullable=True),
        sa.Column("action", sa.Text(), nullable=False),
        sa.Column("object_kind", sa.Text(), nullable=False),
        sa.Column("object_id", sa.Text(), nullable=True),
        sa.Column("object_ids", postgresql.ARRAY(sa.Uuid()), nullable=True),
        sa.Column("before", postgresql.JSONB(astext_type=sa.Text()), nullable=True),
        sa.Column("after", postgresql.JSONB(astext_type=sa.Text()), nullable=True),
        sa.Column("reason", sa.Text(), nullable=True),
        sa.Column("request_id", sa.Text(), nullable=True),
        sa.Column("address", sa.Text(), nullable=True),
        sa.CheckConstraint("(object_id IS NULL) = (object_ids IS NOT NULL)", name=op.f("audit_object")),
        sa.PrimaryKeyConstraint("id", name=op.f("audit_pkey")),
        schema="errander",
    )
    latest = [sa.text("at DESC"), sa.text("id DESC")]
    op.create_index("audit_newest", "audit", ["tenant", *latest], schema="errander")
    op.create_index("audit_of", "audit", ["tenant", "object_kind", "object_id", *latest], schema="errander")
    op.create_index(
        "audit_of_many",
        "audit",
        ["object_ids"],
        schema="errander",
        postgresql_using="gin",
        postgresql_where=sa.text("object_ids IS NOT NULL"),
    )
    for statement in (_FUNCTION, _OF_ROWS, _OF_THE_WHOLE):
        op.execute(statement.format(schema=_schema()))


def downgrade() -> None:
    op.drop_table("audit", schema="errander")
    op.execute(f"DROP FUNCTION {_schema()}.audit_refuse()")


def _schema() -> str:
    # The schema is translated in what SQLAlchemy compiles, not in text, so its name is taken from there.
    return f'"{op.get_bind().get_execution_options()["schema_translate_map"]["errander"]}"'
