"""What the fuzzer has to know of this API beyond its description, so that what it means to be right is right: which tasks there
are, that cursors come from the page before, that a key belongs to one
request, and which fields do not go together. And that waiting takes time.

Loaded by schemathesis in an environment of its own, so it imports nothing of the project.
"""

from typing import Any

import schemathesis

TASK = "demo.echo"
"""A task that takes any payload."""
LONGEST_WAIT = 0.2
"""Seconds."""


def before_call(ctx: schemathesis.HookContext, case: schemathesis.Case, kwargs: dict[str, Any]) -> None:
    """Changes only requests that are meant to be right."""
    if case.meta is None or not case.meta.generation.mode.is_positive:
        return
    if isinstance(case.query, dict):
        case.query.pop("cursor", None)
        if "wait" in case.query:
            case.query["wait"] = LONGEST_WAIT
    if case.headers is not None:
        case.headers.pop("Idempotency-Key", None)
        if case.headers.get("If-Match") == "0":  # what the fuzzer fills in where it varies only the body
            case.headers.pop("If-Match")
    for job in _jobs_of(case.body):
        job["task"] = TASK
        job.pop("idempotency_key", None)
    for times in (case.body, *_jobs_of(case.body)):
        if isinstance(times, dict):
            for name in ("run_at", "expires_at", "expires_in"):
                times.pop(name, None)


def _jobs_of(body: Any) -> list[dict[str, Any]]:
    if not isinstance(body, dict):
        return []
    if isinstance(body.get("jobs"), list):
        return [one for one in body["jobs"] if isinstance(one, dict)]
    return [body] if "task" in body else []


schemathesis.hook(before_call)
