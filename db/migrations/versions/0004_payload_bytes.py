"""how large each payload is, so that a claim can be bounded by it

Revision ID: 0004
Revises: 0003

Only adds, and rewrites nothing: jobs that are there already count as empty.
"""

import sqlalchemy as sa
from alembic import op

revision = "0004"
down_revision = "0003"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.add_column(
        "jobs", sa.Column("payload_bytes", sa.Integer(), server_default="0", nullable=False), schema=_schema()
    )


def downgrade() -> None:
    op.drop_column("jobs", "payload_bytes", schema=_schema())


def _schema() -> str:
    # Alembic translates the schema of what it creates, but not of what it alters.
    schema: str = op.get_bind().get_execution_options()["schema_translate_map"]["errander"]
    return schema
