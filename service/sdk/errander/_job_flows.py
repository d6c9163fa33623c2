"""What can be asked about jobs and done to them, as flows; `_jobs` and `_handles` give them their two surfaces."""

import uuid
from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Any, Final, TypedDict

from ._backoff import Backoff
from ._core import Core, Params, items_of, parse, segment
from ._durations import Duration, to_seconds
from ._filters import JobFilter, filter_body, filter_params
from ._models import Changed, HistoryEntry, Job, Page
from ._new_job import NewJob, Payload, wire_fields, wire_value
from ._task import Priority
from ._wire import Flow

LONGEST_WAIT: Final = 30
"""Seconds that a submit may wait."""


class JobEdit(TypedDict, total=False):
    """Fields of a job that waits, as they shall be; what is absent stays. `expires_at=None` means: never."""

    priority: Priority
    pool: str
    run_at: datetime
    payload: Payload
    max_attempts: int
    timeout: Duration
    backoff: Backoff | Mapping[str, Any]
    expires_at: datetime | None
    tags: Sequence[str]
    metadata: Mapping[str, Any]


def submit(core: Core, job: NewJob, *, wait: Duration | None) -> Flow[Job]:
    """POST one job; a key is made for it if it has none, so that sending it twice makes one job."""
    held = 0 if wait is None else _whole_wait(wait)
    answer = yield from core.call(
        "POST",
        "/v1/jobs",
        params=[("wait", str(held))] if held else None,
        body=job.body(),
        headers={"Idempotency-Key": job.idempotency_key or new_key()},
        wait=held,
    )
    return parse(Job, answer)


def get(core: Core, job_id: str) -> Flow[Job]:
    """GET one job."""
    return core.read(Job, _path(job_id))


def pages(core: Core, base: str, filters: JobFilter, include: str, size: int | None) -> "PageReader":
    """A reader of the pages of the list at `base`."""
    params = filter_params(filters)
    if include:
        params.append(("include", include))
    if size is not None:
        params.append(("limit", str(size)))
    return PageReader(core, base, params)


class PageReader:
    """Reads a list page by page; `done` once the last was read."""

    def __init__(self, core: Core, path: str, params: Params) -> None:
        self._core = core
        self._path = path
        self._params = params
        self._cursor: str | None = None
        self.done = False

    def next_page(self) -> Flow[list[Job]]:
        """The jobs of the next page."""
        params = [*self._params, ("cursor", self._cursor)] if self._cursor is not None else self._params
        answer = yield from self._core.call("GET", self._path, params=params)
        items_of(answer)  # tells another service's answer from ours
        read = parse(Page, answer)
        self._cursor = read.next_cursor
        self.done = self._cursor is None
        return [parse(Job, item) for item in read.items]


def cancel(core: Core, job_id: str, reason: str | None) -> Flow[Job]:
    """Ask to cancel. Twice is the same as once."""
    return core.act(Job, f"{_path(job_id)}/cancel", wire_fields(reason=reason))


def replay(
    core: Core, job_id: str, *, payload: Payload | None, delay: Duration | None, max_attempts: int | None
) -> Flow[Job]:
    """Put a FAILED or CANCELLED job back. Not repeated when an answer is lost: it may have failed anew since."""
    given = wire_fields(payload=payload, delay=delay, max_attempts=max_attempts)
    return core.act(Job, f"{_path(job_id)}/replay", given, repeatable=False)


def run_now(core: Core, job_id: str) -> Flow[Job]:
    """Make a waiting job due. Not repeated when an answer is lost: it may have started and wait for a retry since."""
    return core.act(Job, f"{_path(job_id)}/run-now", repeatable=False)


def history(core: Core, job_id: str) -> Flow[list[HistoryEntry]]:
    """What happened to a job, oldest first."""
    return core.read_list(HistoryEntry, f"{_path(job_id)}/history")


def edit(core: Core, job_id: str, fields: JobEdit) -> Flow[Job]:
    """PATCH a waiting job with those `fields` that are there; None is sent as null."""
    if not fields:
        raise ValueError("give at least one field to edit")
    known = JobEdit.__annotations__
    if unknown := sorted(fields.keys() - known.keys()):
        raise TypeError(f"edit() knows no {', '.join(unknown)}; there are {', '.join(known)}")
    body = {name: None if value is None else wire_value(name, value) for name, value in fields.items()}
    answer = yield from core.call("PATCH", _path(job_id), body=body)
    return parse(Job, answer)


def bulk(
    core: Core, path: str, filters: JobFilter, *, dry_run: bool, limit: int | None, reason: str | None
) -> Flow[Changed]:
    """POST a bulk action over all jobs that fit. Not repeated when an answer is lost, so that its counts are true."""
    given = wire_fields(dry_run=dry_run or None, limit=limit, reason=reason)
    return core.act(Changed, path, {"filter": filter_body(filters)} | given, repeatable=False)


def new_key() -> str:
    """A key that nobody else has."""
    return str(uuid.uuid4())


def _path(job_id: str) -> str:
    return f"/v1/jobs/{segment(job_id)}"


def _whole_wait(wait: Duration) -> int:
    seconds = to_seconds(wait, "wait", longest=None)
    if seconds > LONGEST_WAIT:
        raise ValueError(f"a submit waits at most {LONGEST_WAIT} s; submit without, then use job.wait(timeout)")
    return max(1, round(seconds)) if seconds else 0
