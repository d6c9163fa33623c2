"""The tables of who may do what, and who did what."""

from datetime import datetime
from typing import Any
from uuid import UUID

from sqlalchemy import BigInteger, CheckConstraint, Identity, Index, func, text
from sqlalchemy.orm import Mapped, mapped_column

from db.base import PRIORITIES, Base


class ApiKey(Base):
    """An API key: all that is known of it but the key itself."""

    __tablename__ = "api_keys"

    id: Mapped[str] = mapped_column(primary_key=True)
    """Its first part, which may be shown."""
    tenant: Mapped[str]
    name: Mapped[str]
    digest: Mapped[bytes]
    """HMAC-SHA-256 of the key, under the pepper of the settings."""
    last_four: Mapped[str]
    """So that its owner knows it again."""
    scopes: Mapped[list[str]]
    tasks: Mapped[list[str] | None]
    """Tasks it is for; NULL: all."""
    max_priority: Mapped[str | None]
    created_at: Mapped[datetime] = mapped_column(server_default=func.now())
    created_by: Mapped[str]
    expires_at: Mapped[datetime | None]
    retires_at: Mapped[datetime | None]
    """When it gives way to its successor, whatever `expires_at` says."""
    revoked_at: Mapped[datetime | None]
    last_used_at: Mapped[datetime | None]
    """Within a minute."""
    replaces: Mapped[str | None]
    """The key whose successor it is."""

    __table_args__ = (
        # A tenant's keys, newest first.
        Index("api_keys_newest", "tenant", text("created_at DESC"), text("id DESC")),
        CheckConstraint(f"max_priority IN ({PRIORITIES})", name="max_priority"),
    )


class Audit(Base):
    """Who did what: append-only, by triggers of the migration; only the pruner deletes."""

    __tablename__ = "audit"

    id: Mapped[int] = mapped_column(BigInteger, Identity(always=True), primary_key=True)
    at: Mapped[datetime] = mapped_column(server_default=func.now())
    tenant: Mapped[str]
    """Of whoever did it, also where what was changed is shared by all."""
    actor: Mapped[str]
    actor_key: Mapped[str | None]
    """The API key behind it."""
    action: Mapped[str]
    object_kind: Mapped[str]
    object_id: Mapped[str | None]
    object_ids: Mapped[list[UUID] | None]
    """The jobs that a bulk change changed, instead of `object_id`."""
    before: Mapped[dict[str, Any] | None]
    after: Mapped[dict[str, Any] | None]
    reason: Mapped[str | None]
    request_id: Mapped[str | None]
    address: Mapped[str | None]

    __table_args__ = (
        Index("audit_newest", "tenant", text("at DESC"), text("id DESC")),
        Index("audit_of", "tenant", "object_kind", "object_id", text("at DESC"), text("id DESC")),
        # One job's rows among the bulk changes.
        Index("audit_of_many", "object_ids", postgresql_using="gin", postgresql_where=text("object_ids IS NOT NULL")),
        CheckConstraint("(object_id IS NULL) = (object_ids IS NOT NULL)", name="object"),
    )
