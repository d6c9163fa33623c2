"""`errander dead-letter …`."""

from argparse import Namespace

from .._sync import Client
from ._output import Column, Record, moment, print_list
from ._selection import filters_of, queue_of, select
from ._session import OK


def _error(job: Record) -> str:
    error = job.get("error") or {}
    return f"{error.get('kind', '')}: {error.get('message', '')}" if error else ""


_COLUMNS: list[Column] = [
    ("ID", lambda job: job.get("id")),
    ("TASK", lambda job: job.get("task")),
    ("QUEUE", queue_of),
    ("ATTEMPT", lambda job: job.get("attempt")),
    ("FAILED", lambda job: moment(job.get("finished_at"))),
    ("ERROR", _error),
]


def list_dead_letters(args: Namespace, client: Client) -> int:
    """List failed jobs, newest failure first."""
    found = client.dead_letter.list(
        limit=args.limit, page_size=min(args.limit, 200), include=args.include, **filters_of(args)
    )
    print_list(args, (job.data.raw for job in found), _COLUMNS)
    return OK


def replay(args: Namespace, client: Client) -> int:
    """Put failed jobs back: by id, all that fit, or all."""
    return select(args, client.jobs.replay, client.dead_letter.replay, "replayed", everything=args.everything)
