"""Entity tags in requests: `If-None-Match` when a job is read, `If-Match` when it is changed (RFC 9110, 13.1).

Tags are weak, because an answer may be sent compressed or not, and yet each names one state of one job. So `If-Match`, too,
compares weakly: the RFC's strong comparison would refuse every tag that this server has ever given.
"""

import re
from typing import Final

from starlette.requests import Request

from db.records import JobRecord
from service.http.problems import Problem, invalid_field
from service.representation import entity_tag, job_body

Tags = frozenset[str]
"""The tags of a header, without what says that they are weak."""

ANY: Final = "*"
_TAGS: Final = re.compile(r'^\s*(?:\*|(?:W/)?"[\x21\x23-\x7e]*"(?:\s*,\s*(?:W/)?"[\x21\x23-\x7e]*")*)\s*$')
_TAG: Final = re.compile(r'\*|"[^"]*"')


def tags_of(request: Request, name: str) -> Tags | None:
    """The tags of a header; None where it is not sent. Raises Problem where it is malformed."""
    given = request.headers.getlist(name)
    if not given:
        return None
    text = ", ".join(given)
    if not _TAGS.match(text):
        raise invalid_field(name, "must be `*` or entity tags, each in quotes, as an answer's ETag has it", "format")
    return frozenset(_TAG.findall(text))


def is_named(tags: Tags | None, tag: str) -> bool:
    """Whether a header names `tag`. Pure."""
    return tags is not None and (ANY in tags or tag.removeprefix("W/") in tags)


def require_unchanged(record: JobRecord, tags: Tags | None) -> None:
    """Looks whether a job, locked by the caller's transaction, is one that `If-Match` names. Raises Problem
    `precondition-failed`. Without the header nothing is looked at.
    """
    if tags is None:
        return
    now = entity_tag(job_body(record))
    if not is_named(tags, now):
        raise Problem(
            "precondition-failed",
            f"job {record.id} is {record.status} and has changed since the answer that `If-Match` names; nothing was done",
            headers={"ETag": now},
            job_status=record.status.value,
            job_id=str(record.id),
        )
