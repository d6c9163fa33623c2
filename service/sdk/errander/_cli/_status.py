"""`errander status`: is it up, how full is it, what happened lately."""

from argparse import Namespace
from collections.abc import Mapping
from typing import Any

from .._sync import Client
from ._output import mode, print_list, print_one
from ._queue import QUEUE_COLUMNS
from ._session import OK, UNAVAILABLE


def status(args: Namespace, client: Client) -> int:
    """Readiness, version, counts and queues. Exit code 5 where the service is not ready."""
    ready = client.ready()
    found: dict[str, Any] = {"url": client.base_url, "status": ready.status, "checks": ready.checks}
    for_people = mode(args) == "table"
    if for_people:
        found["checks"] = ", ".join(f"{name} {state}" for name, state in ready.checks.items())
    if ready.status == "unavailable":
        print_one(args, found, key="status")
        return UNAVAILABLE
    stats = client.stats().raw
    found["version"] = client.version().version
    queues = [queue.raw for queue in client.queues.list()]
    if for_people:
        print_one(args, found | _words(stats), key="status")
        print_list(args, queues, QUEUE_COLUMNS)
    else:
        found |= {name: stats.get(name) for name in ("jobs", "workers", "last_5_minutes")}
        print_one(args, found | {"queues": queues}, key="status")
    return OK


def _words(stats: Mapping[str, Any]) -> dict[str, Any]:
    """The figures in a line each; what has not happened is left out."""
    jobs: Mapping[str, int] = stats.get("jobs") or {}
    lately: Mapping[str, Any] = stats.get("last_5_minutes") or {}
    counted = [f"{status} {count:,}" for status, count in jobs.items() if count]
    ended = [f"{name} {lately[name]:,}" for name in ("submitted", "succeeded", "failed") if name in lately]
    took = [
        f"{name} p50 {_seconds(lately[f'{name}_p50'])}, p95 {_seconds(lately.get(f'{name}_p95'))}"
        for name in ("wait", "run")
        if lately.get(f"{name}_p50") is not None
    ]
    return {
        "workers": stats.get("workers"),
        "jobs": f"{'about ' if stats.get('jobs_estimated') else ''}{', '.join(counted) or 'none'}",
        "last 5 minutes": ", ".join(ended),
        "times": "; ".join(took),
    }


def _seconds(value: float | None) -> str:
    """A time to the millisecond."""
    return "?" if value is None else f"{value:.3f} s"
