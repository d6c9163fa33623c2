"""Which jobs: the filters of a list and of a bulk action, which are the same."""

import json
from collections.abc import Iterable, Mapping
from datetime import datetime
from typing import Any, TypedDict

from ._core import Params
from ._durations import to_rfc3339


class JobFilter(TypedDict, total=False):
    """Filters, ANDed. `status`, `tag` and `id` take one value or several: statuses and ids are ORed, tags ANDed.

    `task` is a name, or a prefix such as `email.*`. `metadata` and `payload` map a key, or a path, to its value.
    `scheduled=True` means: waits for a later `run_at`. Times are aware.
    """

    status: str | Iterable[str]
    task: str
    pool: str
    priority: str
    tag: str | Iterable[str]
    id: str | Iterable[str]
    idempotency_key: str
    unique_key: str
    schedule_id: str
    workflow_id: str
    parent_id: str
    worker: str
    created_after: datetime
    created_before: datetime
    finished_after: datetime
    finished_before: datetime
    scheduled: bool
    metadata: Mapping[str, Any]
    payload: Mapping[str, Any]


def filter_body(filters: JobFilter) -> dict[str, Any]:
    """The filters as JSON for a bulk action."""
    body: dict[str, Any] = {}
    for name, value in filters.items():
        if value is None:
            continue
        if isinstance(value, Mapping):
            body.update({f"{name}.{key}": item for key, item in value.items()})
        elif isinstance(value, datetime):
            body[name] = to_rfc3339(value, name)
        elif name in ("status", "tag", "id"):
            body[name] = [value] if isinstance(value, str) else list(value)  # type: ignore[call-overload]
        else:
            body[name] = value
    return body


def filter_params(filters: JobFilter) -> Params:
    """The filters as query parameters; a value that is no text is written as JSON."""
    params: Params = []
    for name, value in filter_body(filters).items():
        items = value if isinstance(value, list) and name in ("status", "tag", "id") else [value]
        params += [(name, item if isinstance(item, str) else json.dumps(item)) for item in items]
    return params
