"""The jobs of a `FakeErrander`: dictionaries in the API's own form, moved by the same rules, by a clock of its own."""

import uuid
from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from typing import Any, Final

from .._backoff import Exponential, parse_backoff
from .._durations import to_rfc3339
from .._registry import Registry
from ._attempts import Outcome, run

WAITING: Final = ("PENDING", "RETRYING")
_FACTS: Final = (
    "attempt",
    "failures",
    "crashes",
    "max_attempts",
    "max_crashes",
    "timeout",
    "metadata",
    "pool",
    "priority",
)
_TAKEN_OVER: Final = ("priority", "pool", "max_attempts", "max_crashes", "timeout", "backoff", "tags", "metadata")
_CLEARED_BY_REPLAY: Final = (
    "result",
    "error",
    "progress",
    "finished_at",
    "expires_at",
    "cancel_requested_at",
    "cancelled_by",
    "cancel_reason",
)


class Store:
    """Jobs by id, in the order they were submitted."""

    def __init__(self, registry: Registry, now: datetime) -> None:
        self.registry = registry
        self.now = now
        self.jobs: dict[str, dict[str, Any]] = {}
        self.keys: dict[str, tuple[str, Any]] = {}

    def add(self, body: Mapping[str, Any]) -> dict[str, Any]:
        """Keep a new job made from a request body."""
        found = self.registry.get(body["task"])
        declared = found.defaults() if found is not None else {}
        job: dict[str, Any] = {
            "id": str(uuid.uuid4()),
            "task": body["task"],
            "payload": dict(body.get("payload") or {}),
            "status": "PENDING",
            "created_at": self.stamp(),
            "run_at": self._due(body),
            "expires_at": body.get("expires_at") or self._later(body.get("expires_in")),
            "pool": "default",
            "priority": "default",
            "max_attempts": 5,
            "max_crashes": 3,
            "timeout": 300.0,
            "backoff": Exponential().to_dict(),
            "tags": [],
            "metadata": {},
            "errors": [],
            "started_at": None,
            "idempotency_key": None,
        }
        job |= dict.fromkeys(("attempt", "failures", "crashes", "replays"), 0)
        job |= dict.fromkeys(name for name in _CLEARED_BY_REPLAY if name not in job)
        job |= {name: source[name] for source in (declared, body) for name in _TAKEN_OVER if name in source}
        job["attempts_left"] = job["max_attempts"]
        self.jobs[job["id"]] = job
        return job

    def due(self) -> list[dict[str, Any]]:
        """Waiting jobs whose time has come, earliest first."""
        waiting = (job for job in self.jobs.values() if job["status"] in WAITING)
        return sorted(
            (job for job in waiting if _instant(job["run_at"]) <= self.now), key=lambda job: _instant(job["run_at"])
        )

    async def attempt(self, job: dict[str, Any]) -> Outcome:
        """Run one attempt of a job and write down how it ended."""
        job["attempt"] += 1
        job |= {"status": "RUNNING", "started_at": self.stamp()}
        outcome = await run(
            self.registry[job["task"]],
            job["payload"],
            backoff=parse_backoff(job["backoff"]),
            cancel_requested=job["cancel_requested_at"] is not None,
            job_id=job["id"],
            idempotency_key=job["idempotency_key"] or job["id"],
            tags=tuple(job["tags"]),
            run_at=_instant(job["run_at"]),
            created_at=_instant(job["created_at"]),
            **{name: job[name] for name in _FACTS},
        )
        self._write(job, outcome)
        return outcome

    def cancel(self, job: dict[str, Any], reason: str | None, by: str = "client") -> None:
        """End a waiting job as CANCELLED."""
        job |= {"status": "CANCELLED", "cancelled_by": by, "cancel_reason": reason, "finished_at": self.stamp()}

    def expire(self) -> None:
        """Cancel waiting jobs that are past their `expires_at`."""
        for job in self.jobs.values():
            if job["status"] in WAITING and job["expires_at"] and _instant(job["expires_at"]) <= self.now:
                self.cancel(job, None, by="expired")

    def replay(self, job: dict[str, Any], body: Mapping[str, Any]) -> None:
        """Put a FAILED or CANCELLED job back."""
        job |= dict.fromkeys(_CLEARED_BY_REPLAY) | {"failures": 0, "crashes": 0, "status": "PENDING"}
        job |= {name: body[name] for name in ("payload", "max_attempts") if name in body}
        job |= {"replays": job["replays"] + 1, "attempts_left": job["max_attempts"], "run_at": self._due(body)}

    def stamp(self) -> str:
        """The store's time, RFC 3339."""
        return to_rfc3339(self.now, "now")

    def _write(self, job: dict[str, Any], outcome: Outcome) -> None:
        job |= {"status": outcome.status, "failures": outcome.failures, "result": outcome.result}
        job["attempts_left"] = max(0, job["max_attempts"] - outcome.failures)
        if outcome.progress:
            mark = outcome.progress[-1]
            job["progress"] = {**mark._asdict(), "at": self.stamp()}
        if outcome.error is not None:
            job["error"] = outcome.error | {"attempt": job["attempt"], "at": self.stamp(), "worker": "fake"}
            job["errors"] = [*job["errors"], job["error"]][-20:]
        if outcome.status in WAITING:
            job["run_at"] = self._later(outcome.defer or 0.0)
        else:
            job["finished_at"] = self.stamp()
        if outcome.status == "CANCELLED":
            asked = job["cancel_requested_at"] is not None
            job |= {"cancelled_by": "client" if asked else "task", "cancel_reason": outcome.reason}

    def _due(self, body: Mapping[str, Any]) -> str:
        if body.get("run_at"):
            return to_rfc3339(max(self.now, _instant(body["run_at"])), "run_at")
        return self._later(body.get("delay") or 0.0) or self.stamp()

    def _later(self, seconds: float | None) -> str | None:
        return None if seconds is None else to_rfc3339(self.now + timedelta(seconds=seconds), "time")


def new_store(registry: Registry) -> Store:
    """An empty store whose clock starts at the present."""
    return Store(registry, datetime.now(UTC))


def _instant(text: str) -> datetime:
    return datetime.fromisoformat(text)
