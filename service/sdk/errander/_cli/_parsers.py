"""The grammar of the client commands: names, flags, help. What they do is in the modules that `_later` names.

Imports nothing heavy: this is all that `errander --help` needs.
"""

import argparse
import importlib
from collections.abc import Callable
from typing import Any, Final

from ._arguments import duration, instant, pair, positive, up_to

CLIENT_COMMANDS: Final = frozenset(
    {"job", "queue", "task", "dead-letter", "workers", "status", "bench", "key", "audit", "fsck"}
)
PRIORITIES: Final = ("high", "default", "low")

Command = Callable[[argparse.Namespace], int]
Subparsers = Any
"""What `add_subparsers` returns; argparse keeps its type private."""


def add_client_commands(subparsers: Subparsers) -> None:
    """Add every client command."""
    _add_job(_group(subparsers, "job", "submit jobs, look at them, act on them"))
    _add_queue(_group(subparsers, "queue", "queues: one priority of one pool"))
    _add_task(_group(subparsers, "task", "the catalogue of tasks"))
    _add_dead_letter(_group(subparsers, "dead-letter", "failed jobs, and the way back for them"))
    _add_workers(subparsers)
    _leaf(subparsers, "status", "how the service is doing", _later("_status", "status"))
    _add_bench(subparsers)
    _add_key(_group(subparsers, "key", "API keys: make, list, rotate, revoke"))
    _add_audit(_group(subparsers, "audit", "who did what"))
    _add_fsck(subparsers)


def _add_job(group: Subparsers) -> None:
    _add_submit(group)
    get = _leaf(group, "get", "show jobs", _later("_job", "get"))
    get.add_argument("ids", nargs="+", metavar="ID")
    found = _leaf(group, "list", "list jobs, newest first", _later("_job", "list_jobs"))
    _add_filters(found)
    _add_listing(found)
    wait = _leaf(group, "wait", "wait until jobs have ended; exit code 1 if one failed", _later("_job", "wait"))
    wait.add_argument("ids", nargs="+", metavar="ID")
    wait.add_argument("--timeout", type=duration, metavar="DURATION", help="give up after this long (exit code 5)")
    watch = _leaf(group, "watch", "follow a job to its end, a line a change; exit as wait", _later("_watch", "watch"))
    watch.add_argument("id", metavar="ID")
    explain = _leaf(group, "explain", "why a job is not running", _later("_watch", "explain"))
    explain.add_argument("id", metavar="ID")
    history = _leaf(group, "history", "what happened to a job, oldest first", _later("_job", "history"))
    history.add_argument("id", metavar="ID")
    cancel = _leaf(group, "cancel", "cancel jobs, by id or all that fit", _later("_job", "cancel"))
    cancel.add_argument("--reason", help="why, kept with the job")
    _add_selection(cancel)
    replay = _leaf(group, "replay", "put failed or cancelled jobs back", _later("_job", "replay"))
    replay.add_argument("--delay", type=duration, metavar="DURATION", help="start this much later (by id only)")
    replay.add_argument("--max-attempts", type=positive, metavar="N", help="a new budget (by id only)")
    replay.add_argument("--payload", metavar="JSON", dest="new_payload", help="a new payload (by id only)")
    _add_selection(replay, payload_filter=False)
    run_now = _leaf(group, "run-now", "make waiting jobs due now", _later("_job", "run_now"))
    run_now.add_argument("ids", nargs="+", metavar="ID")


def _add_submit(group: Subparsers) -> None:
    submit = _leaf(group, "submit", "submit a job", _later("_submit", "submit"))
    submit.add_argument("task", metavar="TASK")
    submit.add_argument("payload", nargs="?", metavar="JSON", help="the payload, an object; - reads standard input")
    submit.add_argument(
        "-p", dest="params", type=pair, action="append", metavar="NAME=VALUE", help="one payload field: JSON, else text"
    )
    submit.add_argument("--priority", choices=PRIORITIES)
    submit.add_argument("--pool", metavar="POOL")
    when = submit.add_mutually_exclusive_group()
    when.add_argument("--delay", type=duration, metavar="DURATION", help="start this much later, for example 10m")
    when.add_argument("--run-at", type=instant, metavar="TIME", help="start then, for example 2030-01-01T08:00:00Z")
    submit.add_argument("--expires-in", type=duration, metavar="DURATION", help="cancel it if it has not started")
    submit.add_argument("--key", metavar="KEY", help="idempotency key: the same key never makes a second job")
    submit.add_argument("--max-attempts", type=positive, metavar="N", help="1: no other start after a failure")
    submit.add_argument("--max-crashes", type=positive, metavar="N", help="1: no other start after its worker died")
    submit.add_argument("--timeout", type=duration, metavar="DURATION", help="of one attempt")
    submit.add_argument("--tag", dest="tags", action="append", metavar="TAG")
    submit.add_argument("--metadata", type=pair, action="append", metavar="NAME=VALUE")
    submit.add_argument(
        "--wait",
        nargs="?",
        type=duration,
        const=float("inf"),
        metavar="SECONDS",
        help="wait until it has ended; exit code 1 if it failed, 5 if it took longer",
    )


def _add_queue(group: Subparsers) -> None:
    _leaf(group, "list", "all queues", _later("_queue", "list_queues"))
    pause = _leaf(group, "pause", "stop starting jobs of queues", _later("_queue", "pause"))
    pause.add_argument("names", nargs="+", metavar="QUEUE", help="high, default, low, or POOL:high and so on")
    pause.add_argument("--reason", help="why, shown with the queue")
    resume = _leaf(group, "resume", "start jobs of queues again", _later("_queue", "resume"))
    resume.add_argument("names", nargs="+", metavar="QUEUE")


def _add_task(group: Subparsers) -> None:
    _leaf(group, "list", "all tasks", _later("_task", "list_tasks"))
    show = _leaf(group, "show", "one task, with its payload schema", _later("_task", "show"))
    show.add_argument("name", metavar="TASK")
    pause = _leaf(group, "pause", "stop starting jobs of tasks", _later("_task", "pause"))
    pause.add_argument("names", nargs="+", metavar="TASK")
    pause.add_argument("--reason", help="why, shown with the task")
    resume = _leaf(group, "resume", "start jobs of tasks again", _later("_task", "resume"))
    resume.add_argument("names", nargs="+", metavar="TASK")


def _add_dead_letter(group: Subparsers) -> None:
    found = _leaf(group, "list", "failed jobs, newest failure first", _later("_dead_letter", "list_dead_letters"))
    _add_filters(found, status=False)
    _add_listing(found)
    replay = _leaf(group, "replay", "put failed jobs back", _later("_dead_letter", "replay"))
    replay.add_argument("--all", action="store_true", dest="everything", help="all of them")
    _add_selection(replay, status=False)


def _add_workers(subparsers: Subparsers) -> None:
    parser = _leaf(subparsers, "workers", "the live workers; `workers drain ID` ends one", _later("_worker", "workers"))
    parser.add_argument("action", nargs="?", choices=("list", "drain"), default="list")
    parser.add_argument("id", nargs="?", metavar="ID", help="the worker to drain")


def _add_bench(subparsers: Subparsers) -> None:
    parser = _leaf(
        subparsers, "bench", "measure a running deployment with jobs that do nothing", _later("_bench", "bench")
    )
    parser.add_argument(
        "--jobs", type=up_to(100_000), default=1000, metavar="N", help="one by one, then in batches (1000)"
    )
    parser.add_argument("--concurrency", type=up_to(256), default=16, metavar="N", help="requests side by side (16)")
    parser.add_argument("--pickups", type=up_to(1000), default=20, metavar="N", help="jobs on a quiet system (20)")
    parser.add_argument("--seconds", type=duration, default=60.0, metavar="DURATION", help="no longer than this (60)")
    parser.add_argument("--task", default="demo.echo", metavar="TASK", help="a task that does nothing (demo.echo)")
    parser.add_argument("-p", dest="params", type=pair, action="append", metavar="NAME=VALUE", help="its payload")


def _add_key(group: Subparsers) -> None:
    command = _local_or(_later("_key", "create"), "key-create", "local")
    create = _leaf(group, "create", "make an API key and print it, this once", command)
    create.add_argument("--name", required=True, metavar="NAME", help="what it is for")
    create.add_argument(
        "--scope", dest="scopes", action="append", required=True, metavar="SCOPE", help="a scope or a role; repeat"
    )
    create.add_argument("--task", dest="tasks", action="append", metavar="TASK", help="only for it, or for 'email.*'")
    create.add_argument("--max-priority", choices=PRIORITIES, help="nothing above it")
    create.add_argument("--expires-in", type=duration, metavar="DURATION", help="how long it is valid (for ever)")
    create.add_argument(
        "--local", action="store_true", help="straight into DATABASE_URL, on a machine that reaches it: the first key"
    )
    create.add_argument("--tenant", metavar="TENANT", help="whose key it is, with --local (default)")
    _leaf(group, "list", "all keys, newest first", _later("_key", "list_keys"))
    rotate = _leaf(group, "rotate", "make a key's successor and print it, this once", _later("_key", "rotate"))
    rotate.add_argument("id", metavar="ID")
    rotate.add_argument("--overlap", type=duration, metavar="DURATION", help="both are good for so long (1d)")
    revoke = _leaf(group, "revoke", "end keys for good", _later("_key", "revoke"))
    revoke.add_argument("ids", nargs="+", metavar="ID")
    revoke.add_argument("--reason", help="why, kept in the audit log")


def _add_audit(group: Subparsers) -> None:
    found = _leaf(group, "list", "what was changed and by whom, newest first", _later("_audit", "list_audit"))
    found.add_argument("--actor", metavar="ACTOR", help="for example key:ID, jwt:SUBJECT or local:USER")
    found.add_argument("--action", metavar="ACTION", help="for example job.cancel, or all of a kind: 'job.*'")
    found.add_argument("--kind", dest="object_kind", metavar="KIND", help="job, jobs, queue, task, worker, key")
    found.add_argument("--id", dest="object_id", metavar="ID", help="of what was changed")
    for name in ("after", "before"):
        found.add_argument(f"--{name}", type=instant, metavar="TIME")
    found.add_argument("--limit", type=positive, default=50, metavar="N", help="at most so many (50)")
    found.add_argument("--ids", action="store_true", help="also the id of every job of a bulk change")


def _add_fsck(subparsers: Subparsers) -> None:
    command = _local_or(_later("_fsck", "fsck"), "fsck", "full", "repair")
    fsck = _leaf(subparsers, "fsck", "check what is stored for broken rules, and mend it", command)
    fsck.description = (
        "Looks for contradictions between jobs, queue, leases and hints, one line each, and says what to do. "
        "Asks the API, or with --full and --repair DATABASE_URL and REDIS_URL themselves. "
        "Exit code 0: no errors (warnings are shown), 1: errors are left, 2: what was asked or a setting cannot be used, "
        "3: this API has no such check, 4: the credential does not allow it, 5: it could not be checked."
    )
    fsck.add_argument("--full", action="store_true", help="read every row, not only what is new, waits or runs")
    fsck.add_argument("--repair", action="store_true", help="mend what is safe to mend; running while jobs run is fine")


def _add_filters(parser: argparse.ArgumentParser, *, status: bool = True, payload: bool = True) -> None:
    group = parser.add_argument_group("filters, all of which must fit")
    if status:
        group.add_argument("--status", action="append", metavar="STATUS", help="repeat for either of several")
    group.add_argument("--task", metavar="TASK", help="a name, or a prefix such as 'email.*'")
    group.add_argument("--tag", dest="tags", action="append", metavar="TAG", help="repeat for jobs that have all")
    group.add_argument("--pool", metavar="POOL")
    group.add_argument("--priority", choices=PRIORITIES)
    group.add_argument("--key", metavar="KEY", help="idempotency key")
    group.add_argument("--worker", metavar="ID")
    for name in ("created-after", "created-before", "finished-after", "finished-before"):
        group.add_argument(f"--{name}", type=instant, metavar="TIME")
    group.add_argument("--scheduled", action="store_true", help="waits for a later time")
    group.add_argument("--metadata", type=pair, action="append", metavar="NAME=VALUE")
    if payload:
        group.add_argument("--payload", type=pair, action="append", metavar="PATH=VALUE")


def _add_listing(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--limit", type=positive, default=50, metavar="N", help="at most so many (50)")
    parser.add_argument(
        "--include", metavar="FIELDS", default="", help="also payload, result, errors (comma separated)"
    )


def _add_selection(parser: argparse.ArgumentParser, *, status: bool = True, payload_filter: bool = True) -> None:
    """Jobs by id, or by filter with `--yes`."""
    parser.add_argument("ids", nargs="*", metavar="ID")
    _add_filters(parser, status=status, payload=payload_filter)
    parser.add_argument("--dry-run", action="store_true", help="only count the jobs that fit")
    parser.add_argument("--limit", type=positive, metavar="N", help="at most so many of those that fit")
    parser.add_argument("--yes", action="store_true", help="do it to all that fit, without asking")


def _group(subparsers: Subparsers, name: str, text: str) -> Subparsers:
    parser = subparsers.add_parser(name, help=text, description=text, allow_abbrev=False)
    return parser.add_subparsers(metavar="ACTION", required=True, dest=f"{name}_action")


def _leaf(subparsers: Subparsers, name: str, text: str, command: Command) -> argparse.ArgumentParser:
    parser: argparse.ArgumentParser = subparsers.add_parser(name, help=text, description=text, allow_abbrev=False)
    parser.set_defaults(func=command)
    parser.add_argument("--url", metavar="URL", help="address of the API (else ERRANDER_URL, else .errander/env)")
    parser.add_argument(
        "-o",
        dest="output",
        choices=("table", "json", "jsonl", "id"),
        help="how to print; a table on a terminal, json in a pipe",
    )
    return parser


def _local_or(remote: Command, entry: str, *flags: str) -> Command:
    """`remote`, but with any of `flags` what the server's distribution brings for it as `entry`."""

    def command(args: argparse.Namespace) -> int:
        asked = [f"--{flag}" for flag in flags if getattr(args, flag)]
        if not asked:
            return remote(args)
        local = importlib.import_module("._local", __package__)
        if args.url is not None:
            return int(local.without_url(asked[0]))
        run: Command = local.local_command(entry, asked[0])
        return run(args)

    return command


def _later(module: str, name: str) -> Command:
    """A command that is imported when it runs, inside what turns its errors into exit codes."""

    def command(args: argparse.Namespace) -> int:
        run: Command = importlib.import_module("._session", __package__).run_command(
            getattr(importlib.import_module(f".{module}", __package__), name)
        )
        return run(args)

    return command
