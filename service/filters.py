"""Filters as clients write them: query parameters of lists, and `filter` objects of bulk changes."""

import re
from collections.abc import Mapping
from datetime import datetime
from typing import Any

from starlette.requests import Request

from db.filters import JobFilter
from db.lifecycle import JobStatus, Priority
from service.http.problems import FieldError, invalid, invalid_field
from service.http.requests import id_of, moment, unknown_parameter
from service.http.strict_json import encode, escaped
from service.representation import HEAVY

REPEATABLE = ("status", "tag", "id")
MAX_IDS = 200
MAX_VALUE = 1_000
"""Characters of a filter's value."""
MAX_DEEP = 10
"""Filters on `metadata` and `payload` in one request."""

_IDS = ("schedule_id", "workflow_id", "parent_id", "worker")
_TEXTS = ("task", "pool", "priority", "idempotency_key", "unique_key")
_TIMES = ("created_after", "created_before", "finished_after", "finished_before")
_TASK = re.compile(r"^[A-Za-z0-9_.-]{1,200}(\.\*)?\Z")

NAMES = (*REPEATABLE, *_TEXTS, *_IDS, *_TIMES, "scheduled")
"""Filters with a fixed name; `metadata.<key>` and `payload.<path>` come beside them."""

Given = dict[str, list[str]]


def given_in_query(request: Request, extra: tuple[str, ...] = ()) -> tuple[Given, dict[str, str]]:
    """The filters of a query, and the parameters named in `extra`. Raises Problem for anything else."""
    given: Given = {}
    others: dict[str, str] = {}
    errors = []
    for name, value in request.query_params.multi_items():
        if name in extra:
            if name in others:
                errors.append(FieldError(name, "the parameter is given more than once", "repeated"))
            others[name] = value
        elif _is_filter(name):
            given.setdefault(name, []).append(value)
        else:
            errors.append(unknown_parameter(name))
    if errors:
        raise invalid(errors)
    return given, others


def given_in_body(value: Mapping[str, Any]) -> Given:
    """The filters of a `filter` object: texts, or lists of texts where several may be named; inside JSON, any value.

    Raises Problem.
    """
    given: Given = {}
    errors = []
    for name, wanted in value.items():
        pointer = f"/filter/{escaped(name)}"
        if not _is_filter(name):
            errors.append(FieldError(pointer, unknown_parameter(name).detail, "unknown-field"))
            continue
        several = wanted if isinstance(wanted, list) and name in REPEATABLE else [wanted]
        if not several:  # "any of none" would be read as "any", and a bulk change would change everything
            errors.append(FieldError(pointer, "is empty; leave it out, or name at least one", "too-short"))
        if name in NAMES and not all(
            isinstance(one, str) or (name, type(one)) == ("scheduled", bool) for one in several
        ):
            allowed = "a text, or a list of texts" if name in REPEATABLE else "a text"
            errors.append(FieldError(pointer, f"must be {'true or false' if name == 'scheduled' else allowed}", "type"))
        given[name] = [one if isinstance(one, str) else encode(one) for one in several]
    if errors:
        raise invalid(errors)
    return given


def _is_filter(name: str) -> bool:
    return name in NAMES or (name.startswith(("metadata.", "payload.")) and not name.endswith("."))


def filter_of(given: Given, prefix: str = "") -> JobFilter:
    """The filter that `given` means; `prefix` leads to it in the request. Raises Problem with all that is wrong."""
    errors: list[FieldError] = []
    for name, values in given.items():
        for value in values:
            why = _refusal(name, value)
            if why:
                errors.append(FieldError(f"{prefix}{name}", why, "filter"))
        if len(values) > 1 and name not in REPEATABLE:
            errors.append(FieldError(f"{prefix}{name}", "is given more than once", "repeated"))
    if len(given.get("id", ())) > MAX_IDS:
        errors.append(FieldError(f"{prefix}id", f"is given more than {MAX_IDS} times", "too-many"))
    deep = [name for name in given if name.startswith(("metadata.", "payload."))]
    if len(deep) > MAX_DEEP:
        errors.append(FieldError(f"{prefix}{deep[0]}", f"at most {MAX_DEEP} filters look into JSON", "too-many"))
    if errors:
        raise invalid(errors)
    return _built(given)


def _refusal(name: str, value: str) -> str | None:
    """What is wrong with one value, or None."""
    if len(value) > MAX_VALUE or "\0" in value:
        return f"must have at most {MAX_VALUE} characters, none of them NUL"
    if name == "status" and value not in JobStatus.__members__:
        return f"must be one of {', '.join(JobStatus)}"
    if name == "priority" and value not in set(Priority):
        return f"must be one of {', '.join(Priority)}"
    if name == "task" and not _TASK.match(value):
        return "must be the name of a task, or a prefix such as email.*"
    if name == "scheduled" and value not in ("true", "false"):
        return "must be true or false"
    if name in _TIMES:
        try:
            moment(value)
        except ValueError as error:
            return str(error)
    return None


def _built(given: Given) -> JobFilter:
    fields: dict[str, Any] = {name: given[name][0] for name in _TEXTS if name in given}
    fields |= {name: _moment(given[name][0]) for name in _TIMES if name in given}
    nothing = False
    for name in _IDS:
        if name in given:
            fields[name] = id_of(given[name][0])
            nothing = nothing or fields[name] is None
    if "id" in given:
        fields["ids"] = frozenset(found for found in map(id_of, given["id"]) if found is not None)
    if "scheduled" in given:
        fields["scheduled"] = given["scheduled"][0] == "true"
    return JobFilter(
        statuses=frozenset(JobStatus(value) for value in given.get("status", ())),
        tags=tuple(given.get("tag", ())),
        metadata=_deep(given, "metadata."),
        payload=_deep(given, "payload."),
        nothing=nothing,
        **fields,
    )


def _moment(text: str) -> datetime:
    return moment(text)


def _deep(given: Given, prefix: str) -> tuple[tuple[str, str], ...]:
    return tuple((name.removeprefix(prefix), values[0]) for name, values in given.items() if name.startswith(prefix))


def include_of(text: str | None) -> frozenset[str]:
    """The heavy fields that a list is to carry. Raises Problem."""
    names = frozenset(text.split(",")) if text else frozenset[str]()
    if not names <= set(HEAVY):
        raise invalid_field("include", f"may name {', '.join(HEAVY)}, comma separated", "choice")
    return names
