"""A job as clients see it."""

import hashlib
import json
from collections.abc import Iterable
from datetime import UTC, datetime
from functools import cache
from typing import Any

from starlette.responses import Response

from db.jobs import Accepted, NewJob
from db.lifecycle import JobStatus
from db.records import JobRecord
from service.http.strict_json import encode

JSON = "application/json"
HEAVY = ("payload", "result", "errors")
"""Fields that a list leaves out unless they are asked for."""


def moment_text(moment: datetime | None) -> str | None:
    """RFC 3339 in UTC with `Z`, or None."""
    if moment is None:
        return None
    return moment.astimezone(UTC).isoformat(timespec="microseconds").replace("+00:00", "Z")


def _id_text(value: Any) -> str | None:
    return None if value is None else str(value)


def _json(text: str | None) -> Any:
    return None if text is None else json.loads(text)


def _stamped(value: dict[str, Any]) -> dict[str, Any]:
    """`value` with its `at`, which PostgreSQL wrote with an offset, in the form of all other times."""
    at = value.get("at")
    return value | {"at": moment_text(datetime.fromisoformat(at))} if isinstance(at, str) else value


def job_document(job: JobRecord) -> dict[str, Any]:
    """The whole job."""
    errors = [_stamped(error) for error in _json(job.errors) or ()]
    progress = _json(job.progress)
    return {
        "id": str(job.id),
        "task": job.task,
        "payload": _json(job.payload),
        "pool": job.pool,
        "priority": job.priority,
        "status": job.status.value,
        "attempt": job.attempt,
        "failures": job.failures,
        "crashes": job.crashes,
        "replays": job.replays,
        "attempts_left": max(0, job.max_attempts - job.failures),
        "max_attempts": job.max_attempts,
        "max_crashes": job.max_crashes,
        "timeout": job.timeout,
        "backoff": _json(job.backoff),
        "run_at": moment_text(job.run_at),
        "created_at": moment_text(job.created_at),
        "started_at": moment_text(job.started_at),
        "finished_at": moment_text(job.finished_at),
        "expires_at": moment_text(job.expires_at),
        "cancel_requested_at": moment_text(job.cancel_requested_at),
        "cancelled_by": job.cancelled_by,
        "cancel_reason": job.cancel_reason,
        "result": _json(job.result),
        "error": errors[-1] if errors else None,
        "errors": errors,
        "progress": None if progress is None else _stamped(progress),
        "worker": _id_text(job.worker_id),
        "tags": _json(job.tags),
        "metadata": _json(job.metadata),
        "idempotency_key": job.idempotency_key,
        "unique_key": job.unique_key,
        "depends_on": [str(parent) for parent in job.depends_on],
        "parent_id": _id_text(job.parent_id),
        "schedule_id": _id_text(job.schedule_id),
        "workflow_id": _id_text(job.workflow_id),
    }


def job_body(job: JobRecord) -> bytes:
    """The whole job as JSON."""
    return encode(job_document(job)).encode()


def accepted_body(job: NewJob, accepted: Accepted) -> bytes:
    """The answer to a submit: the document of a job that has just been made.

    The texts that were written for PostgreSQL are put where `job_document` has their values, so that nothing is parsed to
    be written again.
    """
    text = _accepted_template() % {
        "id": accepted.id,
        "task": job.task,
        "payload": job.payload,
        "pool": job.pool,
        "priority": job.priority,
        "attempts_left": job.max_attempts,
        "max_attempts": job.max_attempts,
        "max_crashes": job.max_crashes,
        "timeout": job.timeout,
        "backoff": job.backoff,
        "run_at": moment_text(accepted.run_at),
        "created_at": moment_text(accepted.created_at),
        "expires_at": encode(moment_text(accepted.expires_at)),
        "tags": job.tags,
        "metadata": job.metadata,
        "idempotency_key": encode(job.idempotency_key),
    }
    return text.encode()


_QUOTED = frozenset({"id", "task", "pool", "priority", "run_at", "created_at"})
_OF_A_NEW_JOB = _QUOTED | {
    *("payload", "attempts_left", "max_attempts", "max_crashes", "timeout", "backoff"),
    *("expires_at", "tags", "metadata", "idempotency_key"),
}
"""The members in which two jobs that have just been made can differ."""


@cache
def _accepted_template() -> str:
    """A format for the document of a new job, made out of `job_document`, which alone says what its members are."""
    counts = dict.fromkeys(("attempt", "failures", "crashes", "replays", "max_attempts"), 0)
    texts = dict.fromkeys(("payload", "backoff", "tags", "metadata"), "{}")
    columns = {"status": JobStatus.PENDING, "depends_on": [], **counts, **texts}
    members = []
    for name, value in job_document(JobRecord.of(columns.items())).items():
        kept = f"%({name})s" if name in _OF_A_NEW_JOB else encode(value).replace("%", "%%")
        members.append(f'"{name}":"{kept}"' if name in _QUOTED else f'"{name}":{kept}')
    return "{" + ",".join(members) + "}"


def item_document(job: JobRecord, include: Iterable[str]) -> dict[str, Any]:
    """A job in a list: without its heavy fields, except those in `include`. `error` is always there."""
    document = job_document(job)
    for name in HEAVY:
        if name not in include:
            del document[name]
    return document


def json_response(value: Any, status: int = 200, headers: dict[str, str] | None = None) -> Response:
    """An answer in JSON; built once here, because validating our own answers again would cost more than the query."""
    return Response(encode(value).encode(), status_code=status, headers=headers, media_type=JSON)


def job_response(job: JobRecord, status: int = 200, headers: dict[str, str] | None = None) -> Response:
    """A job, with its entity tag."""
    body = job_body(job)
    return Response(body, status_code=status, headers={"ETag": entity_tag(body), **(headers or {})}, media_type=JSON)


def entity_tag(body: bytes) -> str:
    """A weak tag: equal tags say that the representations mean the same (RFC 9110, 8.8.1)."""
    return f'W/"{hashlib.blake2b(body, digest_size=9).hexdigest()}"'
