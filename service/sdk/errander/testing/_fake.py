"""An Errander API in memory, for tests of code that submits jobs.

    fake = FakeErrander()
    async with AsyncClient(transport=fake) as client:
        job = await client.submit("report.generate", {"customer": "x"})
        assert await job.result() == {"pages": 3}

It speaks the routes for jobs, dead letters, tasks and version, runs tasks of a registry, and has a clock of its own:
waiting for a job lets that clock run until the job is final, without any real time passing between attempts.
"""

import asyncio
import contextlib
import json
from collections.abc import AsyncIterator, Callable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from datetime import datetime, timedelta
from typing import Any, Final
from urllib.parse import unquote

from .._api_errors import ApiError
from .._errors import FieldError, PayloadInvalid, UnknownTask
from .._registry import Registry, registry
from .._wire import Answer, Call, StreamHead
from ._attempts import Outcome
from ._store import WAITING, new_store

_HEAVY: Final = ("payload", "result", "errors")
_MOST_ATTEMPTS: Final = 10_000
"""A job that snoozes for ever must not hang a test."""


class FakeErrander:
    """A transport for `AsyncClient` and for `Client`. `calls` has every request it got, in order.

    With `autorun` a read or submit that waits (`job.wait()`, `job.result()`, `submit(wait=…)`) runs the job first;
    without, jobs run only by `run_due()` and `run_all()`. A task that is not in `registry` is refused as unknown,
    unless `accept_unknown` is true.
    """

    def __init__(self, registry: Registry = registry, *, autorun: bool = True, accept_unknown: bool = False) -> None:
        self.autorun = autorun
        self.accept_unknown = accept_unknown
        self.calls: list[Call] = []
        self._store = new_store(registry)

    @property
    def now(self) -> datetime:
        """What its clock says."""
        return self._store.now

    @property
    def jobs(self) -> list[dict[str, Any]]:
        """Every job in the API's form, in the order they were submitted."""
        return list(self._store.jobs.values())

    def advance(self, seconds: float) -> None:
        """Let its clock run on."""
        self._store.now += timedelta(seconds=seconds)
        self._store.expire()

    async def run_due(self) -> list[Outcome]:
        """Run one attempt of every job that is due now, earliest first."""
        return [await self._store.attempt(job) for job in self._store.due() if self._runnable(job)]

    async def run_all(self) -> int:
        """Run until nothing waits, letting the clock run from one due time to the next; the number of attempts."""
        for count in range(_MOST_ATTEMPTS):
            waiting = [job for job in self.jobs if job["status"] in WAITING and self._runnable(job)]
            if not waiting:
                return count
            await self._run_next(min(waiting, key=lambda job: datetime.fromisoformat(job["run_at"])))
        raise RuntimeError(f"jobs still wait after {_MOST_ATTEMPTS} attempts")

    async def asend(self, call: Call) -> Answer:
        """Answer one call of `AsyncClient`."""
        answer = self._answer(call)
        if call.path.endswith("/events") and answer.status < 300:
            return await self._followed(call)
        held = dict(call.params).get("wait") is not None and answer.status < 300
        if not (held and self.autorun):
            return answer
        job = self._store.jobs[json.loads(answer.content)["id"]]
        await self._finish(job)
        return _json(200, job)

    async def aclose(self) -> None:
        """Nothing to let go of."""

    def send(self, call: Call) -> Answer:
        """Answer one call of `Client`."""
        if "wait" not in dict(call.params) and not call.path.endswith("/events"):
            return self._answer(call)
        # A loop in a thread of its own, since the caller may itself be inside a running one.
        with ThreadPoolExecutor(1) as thread:
            return thread.submit(lambda: asyncio.run(self.asend(call))).result()

    def close(self) -> None:
        """Nothing to let go of."""

    @contextlib.asynccontextmanager
    async def astream(self, call: Call) -> AsyncIterator[tuple[StreamHead, AsyncIterator[bytes]]]:
        """Answer one call of `AsyncClient` that follows a job: its state, then its end if `autorun` runs it."""
        answer = await self.asend(call)

        async def parts() -> AsyncIterator[bytes]:
            yield answer.content

        yield StreamHead(answer.status, answer.headers), parts()

    @contextlib.contextmanager
    def stream(self, call: Call) -> Iterator[tuple[StreamHead, Iterator[bytes]]]:
        """Answer one call of `Client` that follows a job: its state, then its end if `autorun` runs it."""
        answer = self.send(call)
        yield StreamHead(answer.status, answer.headers), iter([answer.content])

    async def _followed(self, call: Call) -> Answer:
        job = self._find(unquote(call.path.split("/")[-2]))
        told = [_event("job", _item(job))]
        if self.autorun and job["status"] in WAITING:
            await self._finish(job)
            told.append(_event("job", _item(job)))
        if job["status"] not in WAITING:
            told.append(_event("end", {"id": job["id"], "status": job["status"]}))
        return Answer(200, {"content-type": "text/event-stream"}, b"".join(told))

    def _runnable(self, job: Mapping[str, Any]) -> bool:
        return job["task"] in self._store.registry

    async def _finish(self, job: dict[str, Any]) -> None:
        for _ in range(_MOST_ATTEMPTS):
            if job["status"] not in WAITING or not self._runnable(job):
                return
            await self._run_next(job)

    async def _run_next(self, job: dict[str, Any]) -> None:
        """Let the clock run until `job` is due, then run one attempt of it."""
        self._store.now = max(self._store.now, datetime.fromisoformat(job["run_at"]))
        self._store.expire()
        if job["status"] in WAITING:
            await self._store.attempt(job)

    def _answer(self, call: Call) -> Answer:
        self.calls.append(call)
        body = json.loads(call.content) if call.content else {}
        steps = [unquote(step) for step in call.path.strip("/").split("/")]
        try:
            match (call.method, *steps):
                case ("POST", "v1", "jobs"):
                    return self._submit(body, call.headers.get("Idempotency-Key"))
                case ("POST", "v1", "jobs", "batch"):
                    return self._submit_batch(body["jobs"])
                case ("GET", "v1", "jobs"):
                    return self._list(call, lambda _job: True)
                case ("GET", "v1", "dead-letter"):
                    return self._list(call, lambda job: job["status"] == "FAILED")
                case ("GET", "v1", "jobs", job_id) | ("GET", "v1", "jobs", job_id, "events"):
                    return _json(200, self._find(job_id))
                case ("POST", "v1", "jobs", job_id, "cancel" | "replay" | "run-now" as action):
                    return self._act(self._find(job_id), action, body)
                case ("GET", "v1", "tasks"):
                    return _json(200, {"items": [_catalogued(task) for task in self._store.registry]})
                case ("GET", "v1", "version"):
                    return _json(200, {"version": "fake", "api": "v1"})
        except ApiError as error:
            return _problem(error)
        return _problem(ApiError(f"FakeErrander has no {call.method} {call.path}", status=501, code="not-implemented"))

    def _submit(self, body: dict[str, Any], key: str | None) -> Answer:
        job, replayed = self._keep(body, key)
        return _json(202, job, {"idempotency-replayed": "true"} if replayed else {})

    def _submit_batch(self, bodies: list[dict[str, Any]]) -> Answer:
        problems: list[FieldError] = []
        for index, body in enumerate(bodies):
            try:
                self._check(body)
            except ApiError as error:
                listed = error.errors or (FieldError("/task", error.detail, error.code),)
                problems += [item._replace(pointer=f"/jobs/{index}{item.pointer}") for item in listed]
        if problems:
            raise _invalid(f"{len(problems)} of {len(bodies)} jobs are refused", problems)
        kept = [self._keep(body, body.pop("idempotency_key", None)) for body in bodies]
        return _json(
            202, {"jobs": [{"id": job["id"], "status": job["status"], "replayed": again} for job, again in kept]}
        )

    def _keep(self, body: dict[str, Any], key: str | None) -> tuple[dict[str, Any], bool]:
        known = self._store.keys.get(key) if key else None
        if known is not None:
            if known[1] != body:
                fields = sorted(name for name in {*known[1], *body} if known[1].get(name) != body.get(name))
                problem = {"job_id": known[0], "differs": [f"/{name}" for name in fields]}
                detail = "this key was used with other content"
                raise ApiError(detail, status=422, code="idempotency-key-reused", problem=problem)
            return self._store.jobs[known[0]], True
        self._check(body)
        job = self._store.add(body)
        if key:
            job["idempotency_key"] = key
            self._store.keys[key] = (job["id"], body)
        return job, False

    def _check(self, body: Mapping[str, Any]) -> None:
        try:
            self._store.registry[body["task"]].validate(body.get("payload") or {})
        except UnknownTask as error:
            if not self.accept_unknown:
                problem = {"similar": list(error.similar)}
                detail = f"no task {error.task!r} is known"
                raise ApiError(detail, status=422, code="unknown-task", problem=problem) from error
        except PayloadInvalid as error:
            found = [item._replace(pointer=f"/payload{item.pointer}") for item in error.errors]
            raise _invalid(str(error), found) from error

    def _find(self, job_id: str) -> dict[str, Any]:
        job = self._store.jobs.get(job_id)
        if job is None:
            raise ApiError(f"there is no job {job_id}", status=404, code="not-found")
        return job

    def _act(self, job: dict[str, Any], action: str, body: Mapping[str, Any]) -> Answer:
        status = job["status"]
        if action == "cancel" and status in WAITING:
            self._store.cancel(job, body.get("reason"))
        elif action == "cancel" and status == "RUNNING":
            job["cancel_requested_at"] = self._store.stamp()
        elif action == "replay" and status in ("FAILED", "CANCELLED"):
            self._store.replay(job, body)
        elif action == "run-now" and status in WAITING:
            job["run_at"] = self._store.stamp()
        elif not (action == "cancel" and status == "CANCELLED"):
            code = {"cancel": "job-already-final", "replay": "not-replayable", "run-now": "job-not-waiting"}[action]
            problem = {"job_id": job["id"], "job_status": status}
            raise ApiError(f"job {job['id']} is {status}", status=409, code=code, problem=problem)
        return _json(200, job)

    def _list(self, call: Call, fits: Callable[[Mapping[str, Any]], bool]) -> Answer:
        asked: dict[str, list[str]] = {}
        for name, value in call.params:
            asked.setdefault(name, []).append(value)
        limit = int(asked.pop("limit", ["50"])[0])
        start = int(asked.pop("cursor", ["0"])[0])
        shown = asked.pop("include", [""])[0].split(",")
        found = [job for job in reversed(self.jobs) if fits(job) and _fits(job, asked, self.now)]
        hidden = [name for name in _HEAVY if name not in shown]
        items = [
            {name: value for name, value in job.items() if name not in hidden} for job in found[start : start + limit]
        ]
        more = str(start + limit) if start + limit < len(found) else None
        return _json(200, {"items": items, "next_cursor": more})


def _item(job: Mapping[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in job.items() if name not in _HEAVY}


def _event(name: str, data: Mapping[str, Any]) -> bytes:
    return f"event: {name}\ndata: {json.dumps(data)}\n\n".encode()


def _fits(job: Mapping[str, Any], asked: Mapping[str, list[str]], now: datetime) -> bool:
    for name, values in asked.items():
        if name == "tag":
            fits = all(value in job["tags"] for value in values)
        elif name == "task" and values[0].endswith("*"):
            fits = job["task"].startswith(values[0][:-1])
        elif name == "scheduled":
            fits = job["status"] in WAITING and datetime.fromisoformat(job["run_at"]) > now
        elif name in ("status", "id", "task", "pool", "priority", "idempotency_key"):
            fits = job[name] in values
        elif name.startswith("metadata."):
            fits = values[0] in _spellings(job["metadata"].get(name.partition(".")[2]))
        else:
            raise _invalid(f"FakeErrander cannot filter by {name}", [FieldError(f"/{name}", "not supported", "filter")])
        if not fits:
            return False
    return True


def _spellings(value: Any) -> tuple[str, ...]:
    """A value as a query can name it: as JSON, and a text as itself."""
    return (value, json.dumps(value)) if isinstance(value, str) else (json.dumps(value),)


def _catalogued(task: Any) -> dict[str, Any]:
    return {
        "name": task.name,
        "payload_schema": task.payload_schema,
        "result_schema": task.result_schema,
        "defaults": task.defaults(),
        "live": 1,
        "paused": False,
    }


def _invalid(detail: str, errors: list[FieldError]) -> ApiError:
    problem = {"errors": [error._asdict() for error in errors]}
    return ApiError(detail, status=422, code="validation-failed", problem=problem)


def _problem(error: ApiError) -> Answer:
    document = {**error.problem, "title": error.code, "status": error.status, "code": error.code}
    return _json(error.status, document | {"detail": error.detail}, {"content-type": "application/problem+json"})


def _json(status: int, value: Any, headers: Mapping[str, str] | None = None) -> Answer:
    common = {"content-type": "application/json", "x-request-id": "fake", "errander-version": "fake"}
    return Answer(status, common | dict(headers or {}), json.dumps(value).encode())
