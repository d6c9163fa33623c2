"""From the body of a submit to the job that is stored: checked, every default resolved.

Precedence: the request, else the task's declaration as announced last, else the defaults here.
"""

import time
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any, NamedTuple
from uuid import UUID

import uuid_utils.compat
from pydantic import Field

from db.idempotency import digests
from db.jobs import NewJob
from errander import Exponential
from service import fields
from service.auth.principal import Principal
from service.catalogue import Catalogue, Entry
from service.fields import Body, read
from service.http.problems import FieldError, Problem
from service.http.strict_json import encode
from service.representation import moment_text
from service.version import server_version

DEFAULT_MAX_ATTEMPTS = 5
DEFAULT_TIMEOUT = 300.0
DEFAULT_BACKOFF = encode(Exponential().to_dict())
"""As JSON text."""

NOT_YET = ("depends_on", "unique_key", "unique_for", "on_conflict", "webhook")
"""Fields of the contract that this version does not carry out; to take and ignore them would break a promise."""


class SubmitBody(Body):
    """Body of `POST /v1/jobs`."""

    task: fields.TaskName
    payload: dict[str, Any] = Field(default_factory=dict)
    pool: fields.PoolName | None = None
    priority: fields.PriorityName | None = None
    run_at: fields.Moment | None = None
    delay: fields.Delay | None = None
    expires_at: fields.Moment | None = None
    expires_in: fields.ExpiresIn | None = None
    max_attempts: fields.MaxAttempts | None = None
    max_crashes: fields.MaxCrashes | None = None
    timeout: fields.Timeout | None = None
    backoff: fields.Backoff | None = None
    tags: fields.Tags = Field(default_factory=list)
    metadata: fields.Metadata = Field(default_factory=dict)


class BatchItemBody(SubmitBody):
    """One of `jobs` in the body of `POST /v1/jobs/batch`."""

    idempotency_key: fields.Key | None = None


class Submission(NamedTuple):
    """One job to be submitted, and the content its idempotency key stands for."""

    job: NewJob
    content: Mapping[str, str]


@dataclass(frozen=True, slots=True)
class UnknownTask:
    """A body that is right but for its task, which nothing has announced."""

    name: str


class Resolver:
    """Turns the bodies of one request by `principal` into jobs; asks the catalogue, and nothing else."""

    def __init__(self, catalogue: Catalogue, principal: Principal, *, max_crashes: int) -> None:
        self._catalogue = catalogue
        self._principal = principal
        self._is_restricted = principal.is_restricted
        self._max_crashes = max_crashes
        self._since = time.monotonic()
        self._tasks: dict[str, _Task | None] = {}

    async def submission(
        self, sent: Mapping[str, Any], *, key: str | None = None, item: bool = False, prefix: str = ""
    ) -> Submission | UnknownTask | list[FieldError]:
        """A body as a submission, or why it is none. `key` comes from the header; an `item` may carry its own.

        Raises Problem `forbidden` where it is well formed and not this principal's to submit.
        """
        known, not_yet = (sent, []) if _NOT_YET.isdisjoint(sent) else _without_not_yet(sent, prefix)
        body = read(BatchItemBody if item else SubmitBody, known, prefix)
        if isinstance(body, list):
            return not_yet + body
        errors = not_yet + contradictions(body.run_at, body.delay, body.expires_at, body.expires_in, prefix)
        task = await self._task(body.task)
        if task is None:
            return errors or UnknownTask(body.task)
        misfits = task.entry.errors(body.payload)
        if errors or misfits:
            return errors + [FieldError(prefix + one.pointer, one.detail, one.code) for one in misfits]
        if isinstance(body, BatchItemBody) and body.idempotency_key is not None:
            key = body.idempotency_key
        job = _job(body, task, key)
        if self._is_restricted:
            self._principal.require(job.task, job.priority)
        content = {} if key is None else digests({name: sent[name] for name in sent if name != "idempotency_key"})
        return Submission(job, content)

    async def look_up(self, names: Iterable[str]) -> None:
        """Asks for these tasks now, so that no submission of one of them asks later. Raises the errors of `db.errors`."""
        for name in names:
            await self._task(name)

    async def _task(self, name: str) -> "_Task | None":
        if name not in self._tasks:
            entry = await self._catalogue.find(name, since=self._since)
            self._tasks[name] = None if entry is None else _declared(entry, self._max_crashes)
        return self._tasks[name]

    def unknown_task(self, name: str) -> Problem:
        """The answer to a job of a task that nothing has announced."""
        last = moment_text(self._catalogue.announced_at)
        when = f"tasks were last announced at {last}" if last else "no task has ever been announced"
        return Problem(
            "unknown-task",
            f"no task {name!r} is known; {when}. Start a worker that has it, or run `errander tasks announce`",
            similar=self._catalogue.similar(name),
        )


class _Task(NamedTuple):
    """A task of this request, and what its jobs are where they do not say otherwise."""

    entry: Entry
    pool: str
    priority: str
    max_attempts: int
    max_crashes: int
    timeout: float
    backoff: str


def _declared(entry: Entry, max_crashes: int) -> _Task:
    declared = entry.newest.defaults
    backoff = declared.get("backoff")
    return _Task(
        entry,
        pool=declared.get("pool") or "default",
        priority=declared.get("priority") or "default",
        max_attempts=declared.get("max_attempts") or DEFAULT_MAX_ATTEMPTS,
        max_crashes=declared.get("max_crashes") or max_crashes,
        timeout=float(declared.get("timeout") or DEFAULT_TIMEOUT),
        backoff=encode(backoff) if backoff else DEFAULT_BACKOFF,
    )


def _job(body: SubmitBody, task: _Task, key: str | None) -> NewJob:
    return NewJob(
        id=new_id(),
        task=body.task,
        pool=body.pool or task.pool,
        priority=body.priority or task.priority,
        payload=encode(body.payload),
        max_attempts=body.max_attempts or task.max_attempts,
        max_crashes=body.max_crashes or task.max_crashes,
        timeout=body.timeout or task.timeout,
        backoff=encode(body.backoff) if body.backoff else task.backoff,
        tags=encode(body.tags) if body.tags else "[]",
        metadata=encode(body.metadata) if body.metadata else "{}",
        run_at=body.run_at,
        delay=body.delay,
        expires_at=body.expires_at,
        expires_in=body.expires_in,
        idempotency_key=key,
    )


def new_id() -> UUID:
    """A new job's id: a UUIDv7, so that ids sort by when they were made."""
    return uuid_utils.compat.uuid7()


_NOT_YET = frozenset(NOT_YET)


def _without_not_yet(sent: Mapping[str, Any], prefix: str) -> tuple[Mapping[str, Any], list[FieldError]]:
    """What is left to be read, and a refusal of each such field that asks for something."""
    refused = [
        FieldError(
            f"{prefix}/{name}",
            f"version {server_version()} of this server does not support this field yet",
            "not-supported",
        )
        for name in NOT_YET
        if sent.get(name) not in (None, [])
    ]
    return {name: value for name, value in sent.items() if name not in _NOT_YET}, refused


def contradictions(
    run_at: datetime | None,
    delay: float | None,
    expires_at: datetime | None,
    expires_in: float | None,
    prefix: str = "",
) -> list[FieldError]:
    """Pairs of times that cannot both be meant."""
    errors = []
    if run_at is not None and delay is not None:
        errors.append(FieldError(f"{prefix}/delay", "run_at is given too; say one of them", "contradiction"))
    if expires_at is not None and expires_in is not None:
        errors.append(FieldError(f"{prefix}/expires_in", "expires_at is given too; say one of them", "contradiction"))
    if run_at is not None and expires_at is not None and expires_at <= run_at:
        errors.append(FieldError(f"{prefix}/expires_at", "is not after run_at", "contradiction"))
    if delay is not None and expires_in is not None and expires_in <= delay:
        errors.append(FieldError(f"{prefix}/expires_in", "is not longer than delay", "contradiction"))
    return errors
