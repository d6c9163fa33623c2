"""Why a job is not running, as the API says it."""

from datetime import datetime

from pydantic import Field

from ._core import Core, Read, segment
from ._wire import Flow


class Reason(Read):
    """One reason. `code` is for programs, `message` for people; the fields that show it are in `raw`."""

    code: str
    message: str = ""


class StartEstimate(Read):
    """When a job starts, with a chance of a half and of nine tenths."""

    p50: datetime | None = None
    p90: datetime | None = None


class Explanation(Read):
    """Why a job is not running, or how it stands. `reasons` are ordered: the first is the summary."""

    job_id: str
    status: str
    running: bool = False
    summary: str = ""
    reasons: list[Reason] = Field(default_factory=list)
    position: int | None = None
    position_exact: bool = True
    drain_per_second: float | None = None
    estimated_start: StartEstimate | None = None
    at: datetime | None = None


def explain(core: Core, job_id: str) -> Flow[Explanation]:
    """GET why a job is not running."""
    return core.read(Explanation, f"/v1/jobs/{segment(job_id)}/explain")
