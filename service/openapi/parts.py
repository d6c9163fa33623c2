"""What the whole description of the API shares: parameters in paths, headers of answers, problems, examples."""

from collections.abc import Iterable, Mapping, Sequence
from typing import Any, Final

from service.http.problems import CODES, MAX_ERRORS, MEDIA_TYPE

_SCHEMAS: Final = "#/components/schemas/"
_HEADERS: Final = "#/components/headers/"
_EXAMPLES: Final = "#/components/examples/"
_JOB: Final = "0199a7c1-6d2e-7c44-9f7e-0d9f0a2b1c3d"
_UUID: Final[dict[str, Any]] = {"type": "string", "format": "uuid"}

PATH_PARAMETERS: Final[dict[str, dict[str, Any]]] = {
    "job_id": {"description": "The id of a job.", "schema": _UUID, "example": _JOB},
    "worker": {"description": "The id of a worker.", "schema": _UUID},
    "queue": {
        "description": "A priority of the pool `default`, or pool and priority, such as `gpu:high`.",
        "schema": {"type": "string", "pattern": "^([a-z0-9][a-z0-9_-]{0,62}:)?(high|default|low)$"},
        "example": "high",
    },
    "name": {
        "description": "The name of a task.",
        "schema": {"type": "string", "pattern": "^[A-Za-z0-9_.-]{1,200}$"},
        "example": "email.send",
    },
    "key_id": {
        "description": "The id of an API key: the part behind `errander_`.",
        "schema": {"type": "string", "pattern": "^[0-9A-Za-z]{8}$"},
    },
}
"""Name → what stands there. A path says no more of it: what is malformed does not exist, which is 404."""


OWNERS: Final = {"job_id": "#/components/schemas/JobDocument", "key_id": "#/components/schemas/NewKeyDocument"}
"""Parameter in a path → the answer whose `id` it is: what was made leads to what can be done with it."""


def _header(description: str, schema: Mapping[str, Any] | None = None, *, required: bool = False) -> dict[str, Any]:
    return {"description": description, "required": required, "schema": dict(schema or {"type": "string"})}


_WHOLE: Final = {"type": "integer", "minimum": 0}

HEADERS: Final[dict[str, dict[str, Any]]] = {
    "X-Request-Id": _header(
        "Finds the request in the server's log: the one that was sent, if it is well formed, else a new one.",
        {"type": "string", "pattern": "^[A-Za-z0-9_-]{1,64}$"},
        required=True,
    ),
    "Errander-Version": _header("The version of the server.", required=True),
    "Location": _header("The address of what was made.", {"type": "string", "format": "uri-reference"}, required=True),
    "ETag": _header(
        "Names this state of the job, for `If-None-Match` and `If-Match`.",
        {"type": "string", "pattern": '^W/"[0-9a-f]+"$'},
        required=True,
    ),
    "Idempotency-Replayed": _header(
        "Here, and `true`, if an earlier request with the same key did it.", {"type": "string", "enum": ["true"]}
    ),
    "Retry-After": _header("Seconds after which to send the request again.", _WHOLE),
    "Allow": _header("The methods that are possible."),
    "WWW-Authenticate": _header("How to authenticate (RFC 6750)."),
    "RateLimit-Policy": _header("The limits that apply: quota and window in seconds."),
    "RateLimit": _header("What is left of them, and when they are full again."),
    "Deprecation": _header("When the operation was deprecated: `@` and seconds since 1970 (RFC 9745).", required=True),
    "Sunset": _header("When the operation ends (RFC 8594)."),
}
"""Headers of answers; those that are required come with every answer that is described with them."""

EVERYWHERE: Final = ("X-Request-Id", "Errander-Version")
LIMITED: Final = ("RateLimit-Policy", "RateLimit")
_OF_STATUS: Final[dict[int, tuple[str, ...]]] = {
    401: ("WWW-Authenticate",),
    403: ("WWW-Authenticate",),
    409: ("Retry-After",),
    412: ("ETag",),
    429: ("Retry-After", *LIMITED),
    503: ("Retry-After",),
}


def headers_named(names: Iterable[str]) -> dict[str, Any]:
    """The headers of an answer, by reference. Pure."""
    return {name: {"$ref": f"{_HEADERS}{name}"} for name in names}


def problem_answer(names: Sequence[str]) -> dict[str, Any]:
    """The answer that is a problem of one of the codes `names`, which share a status. Pure."""
    return {
        "description": "; ".join(f"`{name}`: {CODES[name].title}" for name in names),
        "headers": headers_named((*EVERYWHERE, *_OF_STATUS.get(CODES[names[0]].status, ()))),
        "content": {
            MEDIA_TYPE: {
                "schema": {"$ref": f"{_SCHEMAS}Problem"},
                "examples": {name: {"$ref": f"{_EXAMPLES}{name}"} for name in names},
            }
        },
    }


def problem_schema() -> dict[str, Any]:
    """What a problem document looks like."""
    text = {"type": "string"}
    pointer = {
        "type": "string",
        "description": "A JSON Pointer into the body, or the name of a query parameter or header.",
    }
    error = {
        "type": "object",
        "required": ["pointer", "detail", "code"],
        "properties": {"pointer": pointer, "detail": text, "code": text},
    }
    return {
        "type": "object",
        "description": "RFC 9457. Decide by `code`; some codes bring further members.",
        "required": ["type", "title", "status", "detail", "instance", "code"],
        "properties": {
            "type": {"type": "string", "format": "uri-reference"},
            "title": text,
            "status": {"type": "integer", "minimum": 400, "maximum": 599},
            "detail": text,
            "instance": {"type": "string", "format": "uri"},
            "code": {"type": "string", "description": "A later version may have others.", "examples": sorted(CODES)},
            "errors": {"type": "array", "items": error, "maxItems": MAX_ERRORS},
            "job_id": {"type": "string", "description": "The job that it is about."},
            "job_status": {"type": "string", "description": "How that job stands."},
            "similar": {
                "type": "array",
                "items": text,
                "description": "Names of tasks that look like the unknown one.",
            },
            "differs": {"type": "array", "items": text, "description": "JSON Pointers to what differs."},
        },
        "example": problem_examples()["validation-failed"]["value"],
    }


_MEMBERS: Final[dict[str, dict[str, Any]]] = {
    "validation-failed": {
        "detail": '/payload/seconds: "soon" is not of type "number"',
        "errors": [{"pointer": "/payload/seconds", "detail": '"soon" is not of type "number"', "code": "type"}],
    },
    "unknown-task": {"detail": "no task 'email.sent' is known", "similar": ["email.send"]},
    "idempotency-key-reused": {"job_id": _JOB, "differs": ["/payload"]},
    "job-already-final": {"job_id": _JOB, "job_status": "SUCCESS"},
    "job-not-waiting": {"job_id": _JOB, "job_status": "RUNNING"},
    "not-replayable": {"job_id": _JOB, "job_status": "PENDING"},
    "precondition-failed": {"job_id": _JOB, "job_status": "RUNNING"},
}


def problem_examples() -> dict[str, Any]:
    """One document of each code."""
    return {
        name: {
            "value": {
                "type": f"/problems/{name}",
                "title": code.title,
                "status": code.status,
                "detail": code.title,
                "instance": "urn:request:4f0c2a9e1d7b4c55a0f3e6b8d2917c34",
                "code": name,
                **_MEMBERS.get(name, {}),
            }
        }
        for name, code in CODES.items()
    }
