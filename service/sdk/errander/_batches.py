"""Many jobs in few requests: grouping, one transaction a batch, and errors that count from the caller's first job."""

import re
from collections.abc import Iterator, Mapping, Sequence
from typing import Final

from ._api_errors import ApiError, BadAnswer
from ._core import Core, parse
from ._job_flows import new_key
from ._json import dump_body
from ._models import Job
from ._new_job import NewJob
from ._wire import Flow

BATCH_JOBS: Final = 10_000
BATCH_BYTES: Final = 30 * 1024 * 1024
"""A batch is at most 32 MiB on the server; some of it is left for what proxies add."""


class Batcher:
    """Groups jobs into batches that the server takes: at most 10,000 jobs and 30 MiB."""

    def __init__(self) -> None:
        self._jobs: list[NewJob] = []
        self._texts: list[bytes] = []
        self._size = 0

    def add(self, job: NewJob) -> Iterator[tuple[list[NewJob], bytes]]:
        """Take one job; yields the batch before it, if that is now full. Raises `TypeError` for what is no `NewJob`."""
        if not isinstance(job, NewJob):
            raise TypeError(f"a job to submit is a NewJob(task, payload, …), not {type(job).__name__}: {job!r:.100}")
        body = job.body()
        if job.idempotency_key is not None:
            body["idempotency_key"] = job.idempotency_key
        text = dump_body(body)
        if len(self._jobs) >= BATCH_JOBS or self._size + len(text) > BATCH_BYTES:
            yield from self.rest()
        self._jobs.append(job)
        self._texts.append(text)
        self._size += len(text) + 1

    def rest(self) -> Iterator[tuple[list[NewJob], bytes]]:
        """Yield what is left, as (jobs, request body)."""
        if self._jobs:
            yield self._jobs, b'{"jobs":[' + b",".join(self._texts) + b"]}"
        self._jobs, self._texts, self._size = [], [], 0


def submit_batch(core: Core, jobs: Sequence[NewJob], content: bytes, accepted: Sequence[Job]) -> Flow[list[Job]]:
    """POST one batch. `accepted` is what earlier batches of the same call gave: errors carry and count it."""
    try:
        answer = yield from core.call("POST", "/v1/jobs/batch", body=content, headers={"Idempotency-Key": new_key()})
    except ApiError as error:
        error.accepted = tuple(job.id for job in accepted)
        _shift_pointers(error, len(accepted))
        raise
    entries = answer.get("jobs") if isinstance(answer, Mapping) else None
    if not isinstance(entries, list) or len(entries) != len(jobs):
        raise BadAnswer(f"{len(jobs)} jobs were sent and the answer does not name as many")
    return [
        parse(Job, {"task": job.task_name, "idempotency_key": job.idempotency_key} | entry)
        for job, entry in zip(jobs, entries, strict=True)
    ]


def _shift_pointers(error: ApiError, by: int) -> None:
    """Make `/jobs/17/…` of a later batch count from the first job that `submit_many` was given."""
    listed = error.problem.get("errors")
    if not by or not isinstance(listed, list):
        return
    shifted = [
        item | {"pointer": _shifted(str(item.get("pointer", "")), by)} for item in listed if isinstance(item, dict)
    ]
    error.problem = {**error.problem, "errors": shifted}


def _shifted(pointer: str, by: int) -> str:
    found = re.match(r"/jobs/(\d+)", pointer)
    return f"/jobs/{int(found[1]) + by}{pointer[found.end() :]}" if found else pointer
