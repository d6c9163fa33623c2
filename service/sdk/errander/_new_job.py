"""A job to be submitted, and its wire form. Only what the caller set is sent, so that the server's defaults apply."""

import re
from collections.abc import Mapping, Sequence
from dataclasses import KW_ONLY, dataclass
from datetime import datetime
from typing import Any, Final

from pydantic import BaseModel

from ._backoff import Backoff
from ._durations import Duration, to_rfc3339, to_seconds
from ._task import Priority, Task

Payload = Mapping[str, Any] | BaseModel
"""A payload is an object of JSON values, or a model that becomes one."""

_KEY: Final = re.compile(r"[\x21-\x7e]{1,255}")


@dataclass(frozen=True, slots=True)
class NewJob:
    """One job for `submit_many`; the fields are those of `submit`. None means: not given.

    Raises `ValueError` or `TypeError` where a field can be judged without the server.
    """

    task: str | Task[..., Any]
    payload: Payload | None = None
    _: KW_ONLY
    priority: Priority | None = None
    pool: str | None = None
    run_at: datetime | None = None
    delay: Duration | None = None
    expires_at: datetime | None = None
    expires_in: Duration | None = None
    max_attempts: int | None = None
    max_crashes: int | None = None
    timeout: Duration | None = None
    backoff: Backoff | Mapping[str, Any] | None = None
    tags: Sequence[str] | None = None
    metadata: Mapping[str, Any] | None = None
    idempotency_key: str | None = None

    def __post_init__(self) -> None:
        if self.run_at is not None and self.delay is not None:
            raise ValueError("give run_at or delay, not both")
        if self.expires_at is not None and self.expires_in is not None:
            raise ValueError("give expires_at or expires_in, not both")
        if self.idempotency_key is not None:
            check_key(self.idempotency_key)
        self.body()  # so that a bad value is refused where it is written, not where it is sent

    @property
    def task_name(self) -> str:
        """The task's name."""
        return self.task if isinstance(self.task, str) else self.task.name

    def body(self) -> dict[str, Any]:
        """The request body, without the key."""
        return {"task": self.task_name} | wire_fields(
            payload=self.payload,
            priority=self.priority,
            pool=self.pool,
            run_at=self.run_at,
            delay=self.delay,
            expires_at=self.expires_at,
            expires_in=self.expires_in,
            max_attempts=self.max_attempts,
            max_crashes=self.max_crashes,
            timeout=self.timeout,
            backoff=self.backoff,
            tags=self.tags,
            metadata=self.metadata,
        )


def wire_fields(**values: Any) -> dict[str, Any]:
    """The given values (not None) in wire form: durations as seconds, times as RFC 3339, backoffs as objects."""
    return {name: wire_value(name, value) for name, value in values.items() if value is not None}


def wire_value(name: str, value: Any) -> Any:
    """One value in wire form."""
    if isinstance(value, datetime):
        return to_rfc3339(value, name)
    if name in ("delay", "expires_in", "timeout"):
        return to_seconds(value, name, longest=None)
    if name == "backoff" and not isinstance(value, Mapping):
        return value.to_dict()
    if name == "tags":
        if isinstance(value, str):
            raise TypeError("tags is a list of strings, not one string")
        return list(value)
    return value


def check_key(key: str) -> str:
    """An idempotency key as a header can carry it: 1 to 255 visible ASCII characters. Raises `ValueError`."""
    if not _KEY.fullmatch(key):
        raise ValueError(f"an idempotency key is 1 to 255 visible ASCII characters, got {key!r}")
    return key
