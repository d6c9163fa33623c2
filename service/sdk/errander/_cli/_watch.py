"""`errander job watch` and `errander job explain`."""

import json
from argparse import Namespace

from .._explain import Explanation
from .._models import Job
from .._sync import Client
from ._output import mode, moment, note, print_one, print_text
from ._session import NOT_FOUND, OK
from ._submit import outcome


def watch(args: Namespace, client: Client) -> int:
    """Follow a job to its end: a line for each change, or each state as a line of JSON."""
    last: Job | None = None
    for job in client.jobs.watch(args.id):
        match mode(args):
            case "table":
                print_text(_line(job))
            case "id":
                print_text(job.id)
            case _:
                print_text(json.dumps(job.raw, ensure_ascii=False))
        last = job
    if last is None or not last.is_final:
        note(f"job {args.id} is not there any more")
        return NOT_FOUND
    return outcome(last)


def explain(args: Namespace, client: Client) -> int:
    """Why a job is not running: in words for people, whole for programs."""
    found = client.jobs.explain(args.id)
    if mode(args) == "table":
        for line in _words(found):
            print_text(line)
    else:
        print_one(args, found.raw, key="job_id")
    return OK


def _line(job: Job) -> str:
    parts = [moment(_at(job)), job.status.ljust(9), f"attempt {job.attempt}"]
    if job.progress is not None and not job.is_final:
        total = "" if job.progress.total is None else f"/{job.progress.total:g}"
        parts += [f"{job.progress.done:g}{total}", job.progress.message or ""]
    elif job.status in ("PENDING", "RETRYING"):
        parts.append(f"from {moment(job.raw.get('run_at'))}")
    if job.error is not None and job.status in ("RETRYING", "FAILED"):
        parts.append(f"{job.error.kind}: {job.error.message}".partition("\n")[0])
    if job.cancel_requested_at is not None and not job.is_final:
        parts.append("asked to stop")
    return "  ".join(part for part in parts if part)


def _at(job: Job) -> object:
    """When the job came to this state, as far as its fields say."""
    progress = job.raw.get("progress") or {}
    error = job.raw.get("error") or {}
    moments = {
        "RUNNING": progress.get("at") or job.raw.get("started_at"),
        "RETRYING": error.get("at"),
    }
    return job.raw.get("finished_at") or moments.get(job.status) or job.raw.get("created_at")


def _words(found: Explanation) -> list[str]:
    lines = [f"{found.status}: {found.summary}"]
    lines += [f"  {reason.message}" for reason in found.reasons[1:]]
    if found.position is not None:
        lines.append(f"  position {found.position}{'' if found.position_exact else ' or later'}")
    start = found.raw.get("estimated_start")
    if isinstance(start, dict):
        lines.append(f"  starts about {moment(start.get('p50'))}, most likely before {moment(start.get('p90'))}")
    return lines
