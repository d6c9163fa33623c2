"""Errors as clients see them: RFC 9457 problem documents, one table of codes.

Everything that answers 4xx or 5xx goes through `Problem`, so a new error is a row of `CODES` and nothing else.
"""

import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from starlette.responses import Response

MEDIA_TYPE = "application/problem+json"
MAX_ERRORS = 100
"""Entries of `errors` in one answer; more would help nobody and cost a lot in a batch."""


@dataclass(frozen=True, slots=True)
class Code:
    """One kind of error: its status, its title, and what its page says."""

    status: int
    title: str
    page: str


CODES: dict[str, Code] = {
    "malformed-request": Code(
        400,
        "The request is not HTTP",
        "The request line, a header or the framing of the body could not be read, or not in one way only (RFC 9112): `Host` "
        "must be there once, and the only `Transfer-Encoding` is `chunked`. The connection is closed.",
    ),
    "malformed-json": Code(
        400,
        "The body is not JSON",
        "The body could not be read as JSON in UTF-8 (RFC 8259). NaN, Infinity and a name that appears twice in one "
        "object are refused too. Correct the body; sending it again unchanged will not help.",
    ),
    "unauthenticated": Code(
        401,
        "Credentials are missing or not valid",
        "Send an API key or a JWT as `Authorization: Bearer …`. `detail` says what is wrong with the one that was sent.",
    ),
    "forbidden": Code(
        403,
        "The credentials do not allow this",
        "The credentials are valid. `scope` is the scope that they lack; or they are narrowed to tasks or a priority, "
        "which `detail` names.",
    ),
    "not-found": Code(
        404,
        "Not found",
        "There is nothing at this address, or no such job, task, queue or worker. An id that is not well formed is "
        "treated like one that does not exist.",
    ),
    "method-not-allowed": Code(405, "Method not allowed", "The `Allow` header lists the methods of this address."),
    "request-timeout": Code(
        408,
        "The request came too slowly",
        "A request's head has to be complete 10 seconds after its first byte, and of its body something has to come every 20 "
        "seconds. The connection is closed. Send the request again, at once and as a whole.",
    ),
    "idempotency-in-flight": Code(
        409,
        "A request with this idempotency key is under way",
        "Another request with the same key has not finished. Send the request again, unchanged, after `Retry-After`.",
    ),
    "job-already-final": Code(
        409, "The job is final", "A job that ended cannot be cancelled. `job_status` says how it ended."
    ),
    "job-not-waiting": Code(
        409,
        "The job does not wait",
        "Only a job that waits to start can be changed or started now. `job_status` says how it stands.",
    ),
    "not-replayable": Code(
        409,
        "The job cannot be replayed",
        "Only FAILED and CANCELLED jobs can be replayed. To run a successful job again, submit a new one.",
    ),
    "unique-conflict": Code(409, "A job with this unique key exists", "`job_id` is the job that holds the key."),
    "key-not-active": Code(
        409, "The API key is not active", "A key that has expired or was revoked has no successor. Make a new key."
    ),
    "rotation-under-way": Code(
        409,
        "Two keys of this rotation are good already",
        "A key and its successor are good together, and no third one. `key_id` is the other one. Use the successor if you "
        "have it; if it was lost, or the former key is no longer needed, revoke that one and rotate again.",
    ),
    "precondition-failed": Code(
        412,
        "The job has changed",
        "`If-Match` names an entity tag that the job does not have any more, so nothing was done. Read the job again, "
        "decide again, and send the `ETag` of that answer.",
    ),
    "payload-too-large": Code(
        413,
        "The body is too large",
        "A body holds at most 1 MiB, that of a batch 32 MiB, with at most 1,500,000 objects and arrays and 5,000,000 values, "
        "counted by the `{`, `[` and `,` of its text, those inside texts included; values are nested at most 64 deep.",
    ),
    "uri-too-long": Code(
        414,
        "The address is too long",
        "Path and query together have at most 16 KiB. Filters by many ids fit into several requests.",
    ),
    "unsupported-media-type": Code(
        415, "The body is not declared as JSON", "Send `Content-Type: application/json`, without a content encoding."
    ),
    "misdirected-request": Code(
        421,
        "This server is not known by that name",
        "`Host` is a name of the public DNS that is not one of this server's. Where no credentials are asked for, a page that "
        "makes its own name point at this server could use it; so a public name has to stand in the setting "
        "ERRANDER_ALLOWED_HOSTS. IP addresses, names without a dot, and names below .localhost, .local, .internal and .svc "
        "need not.",
    ),
    "validation-failed": Code(
        422,
        "The request is not valid",
        "`errors` lists what is wrong: `pointer` (RFC 6901) into the body, or the name of a query parameter or header, "
        "with a `detail` for people and a `code` for programs.",
    ),
    "unknown-task": Code(
        422,
        "No such task",
        "Nothing has announced a task of this name. `similar` lists names that look like it. A worker announces its "
        "tasks when it starts, and `errander tasks announce` does so in a deployment.",
    ),
    "idempotency-key-reused": Code(
        422,
        "The idempotency key was used for another request",
        "The key made `job_id` from other content; `differs` lists where. Use a new key for a new request.",
    ),
    "quota-exceeded": Code(
        429,
        "Too many requests",
        "A limit is used up; `violated-policies` names it, `RateLimit-Policy` says how large it is. Send the request again, "
        "unchanged, after `Retry-After` seconds.",
    ),
    "headers-too-large": Code(
        431,
        "The headers are too large",
        "The head of a request (its first line and all its headers) has at most 32 KiB and 100 headers; trailers, and what "
        "stands around the chunks of a body, have at most 32 KiB too.",
    ),
    "internal": Code(
        500, "Internal error", "Something is wrong on the server. `instance` finds the failure in its log."
    ),
    "unavailable": Code(
        503,
        "Not available at the moment",
        "PostgreSQL cannot be reached, answers too slowly, or its schema is older than this version. Nothing needs to be "
        "corrected: send the request again after `Retry-After`. Without an idempotency key a submit may have taken effect.",
    ),
}
"""Code → status, title and page."""


@dataclass(frozen=True, slots=True)
class FieldError:
    """One thing that is wrong with a request."""

    pointer: str
    detail: str
    code: str

    def document(self) -> dict[str, str]:
        """As it stands in `errors`."""
        return {"pointer": self.pointer, "detail": self.detail, "code": self.code}


class Problem(Exception):
    """An answer other than success. `extra` are further members of the document."""

    def __init__(self, code: str, detail: str, *, headers: Mapping[str, str] | None = None, **extra: Any) -> None:
        super().__init__(f"{code}: {detail}")
        self.code = code
        self.detail = detail
        self.headers = dict(headers or {})
        self.extra = extra


def invalid(errors: Iterable[FieldError]) -> Problem:
    """`validation-failed` with everything that is wrong, at most `MAX_ERRORS` of it."""
    found = list(errors)
    first = found[0]
    where = f"{first.pointer}: " if first.pointer else ""
    more = f" (and {len(found) - 1} more)" if len(found) > 1 else ""
    return Problem(
        "validation-failed",
        f"{where}{first.detail}{more}",
        errors=[error.document() for error in found[:MAX_ERRORS]],
    )


def invalid_field(pointer: str, detail: str, code: str) -> Problem:
    """`validation-failed` with one thing that is wrong."""
    return invalid([FieldError(pointer, detail, code)])


def not_found(what: str) -> Problem:
    """`not-found`, in words."""
    return Problem("not-found", f"{what} does not exist")


def unavailable(detail: str, *, retry_after: int = 1) -> Problem:
    """`unavailable`, to be tried again in `retry_after` seconds."""
    return Problem("unavailable", detail, headers={"Retry-After": str(retry_after)})


def document(problem: Problem, instance: str) -> dict[str, Any]:
    """The members of a problem document."""
    code = CODES[problem.code]
    return {
        "type": f"/problems/{problem.code}",
        "title": code.title,
        "status": code.status,
        "detail": problem.detail,
        "instance": instance,
        "code": problem.code,
        **problem.extra,
    }


def response(problem: Problem, instance: str) -> Response:
    """The answer that says `problem`."""
    return Response(
        json.dumps(document(problem, instance), ensure_ascii=False, separators=(",", ":")).encode(),
        status_code=CODES[problem.code].status,
        headers=problem.headers,
        media_type=MEDIA_TYPE,
    )
