"""The filters of lists and bulk changes as the description of the API has them; `service.filters` reads and checks them."""

from typing import Any, Final

from db.lifecycle import JobStatus, Priority
from service.filters import MAX_DEEP, MAX_IDS, MAX_VALUE, NAMES, REPEATABLE
from service.openapi.operations import query

_TEXT: Final[dict[str, Any]] = {"type": "string", "maxLength": MAX_VALUE}
_TIME: Final[dict[str, Any]] = {"type": "string", "format": "date-time"}

_SCHEMAS: Final[dict[str, dict[str, Any]]] = {
    "status": {"type": "string", "enum": [status.value for status in JobStatus]},
    "priority": {"type": "string", "enum": [priority.value for priority in Priority]},
    "task": {"type": "string", "pattern": r"^[A-Za-z0-9_.-]{1,200}(\.\*)?$"},
    "created_after": _TIME,
    "created_before": _TIME,
    "finished_after": _TIME,
    "finished_before": _TIME,
    "scheduled": {"type": "boolean"},
}

_WORDS: Final = {
    "status": "Any of these statuses.",
    "tag": "All of these tags.",
    "id": f"Any of these ids, at most {MAX_IDS}. One that is malformed fits no job.",
    "task": "Jobs of this task, or of all whose name begins so: `email.*`.",
    "pool": "Jobs of this pool.",
    "priority": "Jobs of this priority.",
    "idempotency_key": "The job that this key made.",
    "unique_key": "Jobs with this unique key.",
    "schedule_id": "Jobs of this schedule.",
    "workflow_id": "Jobs of this workflow.",
    "parent_id": "Children of this job.",
    "worker": "Jobs that this worker runs, or ran last.",
    "created_after": "Submitted at this time or later.",
    "created_before": "Submitted before this time.",
    "finished_after": "Ended at this time or later.",
    "finished_before": "Ended before this time.",
    "scheduled": "Jobs that wait for a later `run_at` (or, with `false`, all others).",
}

_DEEP_NAMES: Final = r"^(metadata|payload)\..*[^.]$"
_DEEP: Final = {
    "name": "deep",
    "in": "query",
    "required": False,
    "style": "form",
    "explode": True,
    "description": "Filters that look into JSON: `metadata.<key>` and `payload.<dotted path>`, each a parameter of its own, "
    f"such as `metadata.customer=7`. A value is compared as JSON and as text. At most {MAX_DEEP}, and no more than the newest "
    "100,000 jobs that fit the rest are looked at.",
    "schema": {
        "type": "object",
        "propertyNames": {"pattern": _DEEP_NAMES},
        "additionalProperties": _TEXT,
        "maxProperties": MAX_DEEP,
    },
    "example": {"metadata.customer": "7"},
}


def _one(name: str) -> dict[str, Any]:
    return _SCHEMAS.get(name, _TEXT)


def _parameter(name: str) -> dict[str, Any]:
    made = query(name, _WORDS[name], _one(name), repeatable=name in REPEATABLE)
    if name == "id":
        made["schema"]["maxItems"] = MAX_IDS
    return made


FILTERS: Final = (*(_parameter(name) for name in NAMES), _DEEP)
"""As query parameters."""


def _member(name: str) -> dict[str, Any]:
    if name == "scheduled":
        return {"description": _WORDS[name], "enum": [True, False, "true", "false"]}
    several = {"type": "array", "items": _one(name), "minItems": 1}
    return {"description": _WORDS[name], **({"anyOf": [_one(name), several]} if name in REPEATABLE else _one(name))}


IN_BODY: Final[dict[str, Any]] = {
    "type": "object",
    "description": "The filters of the list of jobs; `{}` fits every job.",
    "properties": {name: _member(name) for name in NAMES},
    "patternProperties": {_DEEP_NAMES: {"description": "A value inside `metadata` or `payload`."}},
    "additionalProperties": False,
}
"""As the `filter` of a body."""
