"""`errander job …`, but for `submit`."""

from argparse import Namespace

from .._api_errors import ApiError
from .._errors import WaitTimeout
from .._sync import Client
from ._output import Column, Record, moment, note, print_list, print_one
from ._selection import JOB_COLUMNS, act_on_each, filters_of, select
from ._session import OK, UNAVAILABLE, UsageError, exit_code
from ._submit import outcome, read_payload

_HISTORY_COLUMNS: list[Column] = [
    ("AT", lambda entry: moment(entry.get("at"))),
    ("EVENT", lambda entry: entry.get("event")),
    ("STATUS", lambda entry: entry.get("status")),
    ("ATTEMPT", lambda entry: entry.get("attempt")),
    ("WORKER", lambda entry: entry.get("worker")),
    ("BY", lambda entry: entry.get("by")),
    ("DETAIL", lambda entry: entry.get("detail")),
]


def get(args: Namespace, client: Client) -> int:
    """Show jobs by id."""
    return act_on_each(args, client.jobs.get)


def list_jobs(args: Namespace, client: Client) -> int:
    """List jobs, newest first."""
    found = client.jobs.list(limit=args.limit, page_size=min(args.limit, 200), include=args.include, **filters_of(args))
    print_list(args, (job.data.raw for job in found), JOB_COLUMNS)
    return OK


def wait(args: Namespace, client: Client) -> int:
    """Wait until every job has ended; the worst exit code."""
    worst = OK
    done: list[Record] = []
    for job_id in args.ids:
        try:
            # Read before waiting: a wait goes on while the API is away, and here that may be a mistyped address.
            job = client.jobs.get(job_id)
            job.wait(args.timeout)
            done.append(job.data.raw)
            worst = max(worst, outcome(job.data))
        except WaitTimeout as error:
            note(f"{error}; wait again with `errander job wait {job_id}`")
            worst = max(worst, UNAVAILABLE)
        except ApiError as error:
            if len(args.ids) == 1:
                raise
            note(f"{job_id}: {error}")
            worst = max(worst, exit_code(error))
    if len(args.ids) == 1 and done:
        print_one(args, done[0])
    elif done:
        print_list(args, done, JOB_COLUMNS)
    return worst


def history(args: Namespace, client: Client) -> int:
    """What happened to a job."""
    entries = client.jobs.history(args.id)
    print_list(args, (entry.raw for entry in entries), _HISTORY_COLUMNS, key="event")
    return OK


def cancel(args: Namespace, client: Client) -> int:
    """Cancel jobs by id, or all that fit."""
    return select(args, lambda job_id: client.jobs.cancel(job_id, args.reason), client.jobs.cancel_many, "cancelled")


def replay(args: Namespace, client: Client) -> int:
    """Put jobs back by id, or all that fit."""
    changes = (args.new_payload, args.delay, args.max_attempts)
    if not args.ids and any(change is not None for change in changes):
        raise UsageError("--payload, --delay and --max-attempts go with ids")
    payload = None if args.new_payload is None else read_payload(args.new_payload, [])
    return select(
        args,
        lambda job_id: client.jobs.replay(job_id, payload=payload, delay=args.delay, max_attempts=args.max_attempts),
        client.jobs.replay_many,
        "replayed",
    )


def run_now(args: Namespace, client: Client) -> int:
    """Make jobs due."""
    return act_on_each(args, client.jobs.run_now)
