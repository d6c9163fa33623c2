"""A job's state as it is told, written once for all who are told."""

import hashlib
from dataclasses import dataclass
from datetime import datetime
from uuid import UUID

from db.changes import State
from db.records import JobRecord
from service.http.strict_json import encode
from service.representation import item_document


@dataclass(frozen=True, slots=True)
class Told:
    """What clients are told of one job."""

    id: UUID
    at: datetime
    """When it was read, by the database's clock."""
    body: str
    """A list item as JSON, `progress` and `error` among its members."""
    digest: str
    """Equal digests: the same state."""
    core: str
    """Equal cores: at most the progress differs."""
    is_final: bool
    status: str


def told(state: State, record: JobRecord) -> Told:
    """What is told of a job."""
    document = item_document(record, ())
    body = encode(document)
    core = _digest(encode(document | {"progress": None}))
    return Told(record.id, state.at, body, _digest(body), core, record.is_final, record.status.value)


def _digest(text: str) -> str:
    return hashlib.blake2b(text.encode(), digest_size=12).hexdigest()
