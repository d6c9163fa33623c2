"""`errander bench`: how fast a running deployment takes jobs and runs them, as a client sees it.

Three bounded phases: jobs one at a time on a quiet system (pickup), jobs in single requests side by side (submit), and
jobs in batches (bulk); then everything is waited for (drain). Pickup and drain are computed from the moments that the
server wrote into the jobs, so no clock of this machine plays a part. What has not run when time is up is cancelled.
"""

import asyncio
import contextlib
import math
import time
import uuid
from argparse import Namespace
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any, Final

from .._client import AsyncClient
from .._errors import ErranderError, WaitTimeout
from .._models import Job
from .._new_job import NewJob
from .._sync import Client
from ._output import note, print_one
from ._session import JOB_FAILED, OK, RETRIES, UNAVAILABLE, UsageError

_PAGE: Final = 200
"""Ids that one list takes."""
_LOOK_SECONDS: Final = 0.2
_PICKUP_WAIT: Final = 10
_MOST_WITHDRAWALS: Final = 50
_NOT_STARTED: Final = ("PENDING", "RETRYING")
_REASON: Final = "the bench that submitted it is over"


@dataclass(slots=True)
class Found:
    """What the phases saw: seconds, and jobs as they were last read."""

    quiet: list[Job] = field(default_factory=list)
    requests: list[float] = field(default_factory=list)
    submit_seconds: float = 0.0
    bulk_seconds: float = 0.0
    singles: list[str] = field(default_factory=list)
    batched: list[str] = field(default_factory=list)
    ended: dict[str, Job] = field(default_factory=dict)


def bench(args: Namespace, client: Client) -> int:
    """Measure, print, and say whether every job ran."""
    _refuse_without_workers(client, args.task)
    tag = f"bench:{uuid.uuid4().hex[:12]}"
    found = Found()
    in_time = asyncio.run(_run(args, client.base_url, tag, found))
    print_one(args, {"url": client.base_url, "task": args.task, "tag": tag} | figures(found), key="tag")
    if not in_time:
        note(f"time was up after {args.seconds:g} s; what had not started was cancelled")
        return UNAVAILABLE
    return OK if all(job.status == "SUCCESS" for job in [*found.quiet, *found.ended.values()]) else JOB_FAILED


def _refuse_without_workers(client: Client, task: str) -> None:
    known = {one.name: one for one in client.tasks.list()}
    if task not in known:
        raise UsageError(
            f"nothing has announced {task}; the demo tasks come with ERRANDER_BUILTIN_TASKS=all, or name another --task"
        )
    if known[task].live == 0:
        raise UsageError(f"no live worker has {task}: its jobs would only wait")


async def _run(args: Namespace, url: str, tag: str, found: Found) -> bool:
    """The phases, up to the deadline. False where it came first."""
    payload = dict(args.params or [])
    async with AsyncClient(url, retries=RETRIES) as client:
        try:
            async with asyncio.timeout(args.seconds):
                await _quiet(client, args, payload, tag, found)
                await _singles(client, args, payload, tag, found)
                await _batches(client, args, payload, tag, found)
                await _drained(client, found)
        except (ErranderError, asyncio.CancelledError):  # trouble, or Ctrl-C: nothing is left behind either
            with contextlib.suppress(ErranderError):
                await _withdraw(client, tag)
            raise
        except TimeoutError:
            await _withdraw(client, tag)
            return False
    return True


async def _quiet(client: AsyncClient, args: Namespace, payload: dict[str, Any], tag: str, found: Found) -> None:
    for _ in range(args.pickups):
        job = await client.submit(args.task, payload, tags=[tag], wait=_PICKUP_WAIT)
        if not job.is_final:
            raise WaitTimeout(job.id, job.status, _PICKUP_WAIT)
        found.quiet.append(job.data)


async def _singles(client: AsyncClient, args: Namespace, payload: dict[str, Any], tag: str, found: Found) -> None:
    left = iter(range(args.jobs))

    async def sender() -> None:
        for _ in left:
            began = time.perf_counter()
            job = await client.submit(args.task, payload, tags=[tag])
            found.requests.append(time.perf_counter() - began)
            found.singles.append(job.id)

    began = time.perf_counter()
    try:
        async with asyncio.TaskGroup() as group:
            for _ in range(args.concurrency):
                group.create_task(sender())
    except ExceptionGroup as errors:
        raise errors.exceptions[0] from None  # one says what is wrong; the others say the same
    found.submit_seconds = time.perf_counter() - began


async def _batches(client: AsyncClient, args: Namespace, payload: dict[str, Any], tag: str, found: Found) -> None:
    began = time.perf_counter()
    jobs = await client.submit_many(NewJob(args.task, payload, tags=[tag]) for _ in range(args.jobs))
    found.bulk_seconds = time.perf_counter() - began
    found.batched += [job.id for job in jobs]


async def _drained(client: AsyncClient, found: Found) -> None:
    """Reads the jobs until all are final."""
    waiting = [*found.singles, *found.batched]
    while waiting:
        for ids in _chunks(waiting):
            async for job in client.jobs.list(id=ids, page_size=_PAGE):
                if job.is_final:
                    found.ended[job.id] = job.data
        waiting = [job_id for job_id in waiting if job_id not in found.ended]
        if waiting:
            await asyncio.sleep(_LOOK_SECONDS)


async def _withdraw(client: AsyncClient, tag: str) -> None:
    """Cancels what this run has left, as far as the API answers."""
    for _ in range(_MOST_WITHDRAWALS):
        if not (await client.jobs.cancel_many(tag=tag, status=_NOT_STARTED, reason=_REASON)).more:
            return


def _chunks(ids: Sequence[str]) -> Iterator[Sequence[str]]:
    for start in range(0, len(ids), _PAGE):
        yield ids[start : start + _PAGE]


def figures(found: Found) -> dict[str, Any]:
    """Rates a second and times in milliseconds; what was not measured is None."""
    ended = found.ended.values()
    # Those of the batches only: the others were run as they came, as fast as they were sent.
    drained = [found.ended[job_id] for job_id in found.batched if job_id in found.ended]
    pickups = [seconds for job in found.quiet if (seconds := _pickup(job)) is not None]
    return {
        "jobs": len(found.quiet) + len(found.singles) + len(found.batched),
        "not_successful": sum(job.status != "SUCCESS" for job in [*found.quiet, *ended]),
        "submit_per_second": _rate(len(found.requests), found.submit_seconds),
        "submit_p50_ms": _milliseconds(found.requests, 0.5),
        "submit_p99_ms": _milliseconds(found.requests, 0.99),
        "bulk_per_second": _rate(len(found.batched), found.bulk_seconds),
        "drain_per_second": _rate(len(drained), _span(drained)),
        "pickup_p50_ms": _milliseconds(pickups, 0.5),
        "pickup_p90_ms": _milliseconds(pickups, 0.9),
        "pickup_p99_ms": _milliseconds(pickups, 0.99),
    }


def _pickup(job: Job) -> float | None:
    """Seconds from acceptance to start, both by the server's clock."""
    if job.started_at is None or job.created_at is None:
        return None
    return (job.started_at - job.created_at).total_seconds()


def _span(jobs: Iterable[Job]) -> float:
    """Seconds from the first start to the last end."""
    spans = [(job.started_at, job.finished_at) for job in jobs if job.started_at and job.finished_at]
    if not spans:
        return 0.0
    return (max(end for _, end in spans) - min(start for start, _ in spans)).total_seconds()


def _rate(count: int, seconds: float) -> float | None:
    return round(count / seconds, 1) if seconds > 0 else None


def _milliseconds(seconds: Sequence[float], share: float) -> float | None:
    """The smallest that at least `share` of them do not exceed."""
    if not seconds:
        return None
    return round(sorted(seconds)[math.ceil(share * len(seconds)) - 1] * 1e3, 2)
