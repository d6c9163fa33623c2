"""API keys

Revision ID: 0005
Revises: 0004
"""

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects import postgresql

revision = "0005"
down_revision = "0004"
branch_labels = None
depends_on = None


def upgrade() -> None:
    moment = postgresql.TIMESTAMP(timezone=True)
    op.create_table(
        "api_keys",
        sa.Column("id", sa.Text(), nullable=False),
        sa.Column("tenant", sa.Text(), nullable=False),
        sa.Column("name", sa.Text(), nullable=False),
        sa.Column("digest", postgresql.BYTEA(), nullable=False),
        sa.Column("last_four", sa.Text(), nullable=False),
        sa.Column("scopes", postgresql.ARRAY(sa.Text()), nullable=False),
        sa.Column("tasks", postgresql.ARRAY(sa.Text()), nullable=True),
        sa.Column("max_priority", sa.Text(), nullable=True),
        sa.Column("created_at", moment, server_default=sa.text("now()"), nullable=False),
        sa.Column("created_by", sa.Text(), nullable=False),
        sa.Column("expires_at", moment, nullable=True),
        sa.Column("retires_at", moment, nullable=True),
        sa.Column("revoked_at", moment, nullable=True),
        sa.Column("last_used_at", moment, nullable=True),
        sa.Column("replaces", sa.Text(), nullable=True),
        sa.CheckConstraint("max_priority IN ('high', 'default', 'low')", name=op.f("api_keys_max_priority")),
        sa.PrimaryKeyConstraint("id", name=op.f("api_keys_pkey")),
        schema="errander",
    )
    op.create_index(
        "api_keys_newest", "api_keys", ["tenant", sa.text("created_at DESC"), sa.text("id DESC")], schema="errander"
    )


def downgrade() -> None:
    op.drop_table("api_keys", schema="errander")
