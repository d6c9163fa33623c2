"""`errander job submit`."""

import json
import sys
from argparse import Namespace
from typing import Any, Final

from .._errors import WaitTimeout
from .._sync import Client
from ._output import note, print_one
from ._session import JOB_FAILED, OK, UNAVAILABLE, UsageError

_SUCCESS: Final = "SUCCESS"


def submit(args: Namespace, client: Client) -> int:
    """Submit one job, and with `--wait` wait for its end."""
    job = client.submit(
        args.task,
        read_payload(args.payload, args.params or []),
        priority=args.priority,
        pool=args.pool,
        delay=args.delay,
        run_at=args.run_at,
        expires_in=args.expires_in,
        idempotency_key=args.key,
        max_attempts=args.max_attempts,
        max_crashes=args.max_crashes,
        timeout=args.timeout,
        tags=args.tags,
        metadata=dict(args.metadata) if args.metadata else None,
    )
    late: WaitTimeout | None = None
    if args.wait is not None and not job.is_final:
        try:
            job.wait(None if args.wait == float("inf") else args.wait)
        except WaitTimeout as error:
            late = error
    print_one(args, job.data.raw)
    if late is not None:
        note(f"{late}; wait again with `errander job wait {job.id}`")
        return UNAVAILABLE
    return OK if args.wait is None else outcome(job.data)


def outcome(job: Any) -> int:
    """0 for a success, 1 for a failure or a cancel, which a line explains."""
    if job.status == _SUCCESS:
        return OK
    said = f"{job.error.kind}: {job.error.message}" if job.error is not None else job.cancel_reason or ""
    first = said.partition("\n")[0]
    note(f"job {job.id} is {job.status}{f': {first}' if first else ''}")
    return JOB_FAILED


def read_payload(text: str | None, params: list[tuple[str, Any]]) -> dict[str, Any]:
    """The payload from JSON text (`-`: standard input), then single fields on top."""
    payload: Any = {}
    if text is not None:
        try:
            payload = json.loads(sys.stdin.read() if text == "-" else text)
        except ValueError as error:
            raise UsageError(
                f"the payload is not JSON ({error}); quote it, as in '{{\"n\": 1}}', or use -p n=1"
            ) from None
    if not isinstance(payload, dict):
        raise UsageError("the payload is a JSON object, as in '{\"n\": 1}'")
    return payload | dict(params)
