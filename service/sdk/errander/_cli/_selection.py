"""Which jobs a command is about: by ids, or by filters, and then `--yes` before anything is changed."""

from argparse import Namespace
from collections.abc import Callable
from typing import Any, Protocol, Unpack, cast

from .._api_errors import ApiError
from .._filters import JobFilter
from .._handles import JobHandle
from .._models import Changed
from ._output import Column, Record, moment, note, print_list, print_one
from ._session import OK, UsageError, exit_code

_SAME_NAME = (
    "status",
    "task",
    "pool",
    "priority",
    "worker",
    "created_after",
    "created_before",
    "finished_after",
    "finished_before",
)


class Bulk(Protocol):
    """A bulk action of the client."""

    def __call__(
        self,
        *,
        dry_run: bool = False,
        limit: int | None = None,
        reason: str | None = None,
        **filters: Unpack[JobFilter],
    ) -> Changed:
        """Do it to the jobs that fit."""
        ...


def queue_of(record: Record) -> str:
    """The queue's name: the priority, behind the pool unless that is the default one."""
    pool, priority = record.get("pool") or "default", record.get("priority") or "default"
    return priority if pool == "default" else f"{pool}:{priority}"


JOB_COLUMNS: list[Column] = [
    ("ID", lambda job: job.get("id")),
    ("TASK", lambda job: job.get("task")),
    ("STATUS", lambda job: job.get("status")),
    ("QUEUE", queue_of),
    ("ATTEMPT", lambda job: job.get("attempt")),
    ("FAILURES", lambda job: job.get("failures")),
    ("RUN AT", lambda job: moment(job.get("run_at"))),
    ("CREATED", lambda job: moment(job.get("created_at"))),
]


def filters_of(args: Namespace) -> JobFilter:
    """The filters that were given."""
    found: dict[str, Any] = {name: getattr(args, name, None) for name in _SAME_NAME}
    found |= {
        "tag": args.tags,
        "idempotency_key": args.key,
        "scheduled": args.scheduled or None,
        "metadata": dict(args.metadata or ()) or None,
        "payload": dict(getattr(args, "payload", None) or ()) or None,
    }
    return cast("JobFilter", {name: value for name, value in found.items() if value is not None})


def act_on_each(args: Namespace, act: Callable[[str], JobHandle]) -> int:
    """Act on every id; one that is refused is reported and the others are still done. The worst exit code."""
    worst = OK
    done: list[Record] = []
    for job_id in args.ids:
        try:
            done.append(act(job_id).data.raw)
        except ApiError as error:
            if len(args.ids) == 1:
                raise
            note(f"{job_id}: {error}")
            worst = max(worst, exit_code(error))
    if len(args.ids) == 1:
        print_one(args, done[0])
    else:
        print_list(args, done, JOB_COLUMNS)
    return worst


def act_on_all(args: Namespace, act: Bulk, filters: JobFilter, verb: str, reason: str | None = None) -> int:
    """Act on all jobs that fit; without `--yes` only count them and say so."""
    if args.dry_run or not args.yes:
        counted = act(dry_run=True, limit=args.limit, reason=reason, **filters)
        print_one(args, counted.raw)
        if args.dry_run:
            return OK
        raise UsageError(f"{_how_many(counted)} would be {verb}; add --yes to do it")
    done = act(limit=args.limit, reason=reason, **filters)
    print_one(args, done.raw)
    if done.more and args.limit is None:
        # Not in a loop: jobs that are replayed and fail again at once would fit for ever.
        note("more are left than one request changes; run it again")
    return OK


def select(args: Namespace, act: Callable[[str], JobHandle], bulk: Bulk, verb: str, *, everything: bool = False) -> int:
    """Act on the ids, or on all that fit the filters; on neither is a usage error."""
    filters = filters_of(args)
    if args.ids and (filters or everything):
        raise UsageError("give ids or filters, not both")
    if args.ids:
        return act_on_each(args, act)
    if not filters and not everything:
        raise UsageError("say which jobs: ids, or filters such as --task and --status")
    return act_on_all(args, bulk, filters, verb, getattr(args, "reason", None))


def _how_many(counted: Changed) -> str:
    more = "more than " if counted.more else ""
    return f"{more}{counted.matched} job{'' if counted.matched == 1 else 's'}"
