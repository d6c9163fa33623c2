"""One exchange with the API, to its end: what is sent, what is tried again, and which error it becomes.

What is tried again, at most `retries` times, with growing jittered pauses and never sooner than a `Retry-After`
asks (one of more than a minute is the caller's to wait for: the error comes out at once):

    no answer            if the request is repeatable, or never left
    408, 429, 503        always: the server says that it did nothing
    502, 504             if the request is repeatable: a proxy cannot know what was done
    409 in flight        always: the first request with this key is still under way

Repeatable is what does the same when done twice: reads, edits, pauses, cancels, and every submit, because each
carries an idempotency key.
"""

import itertools
import json
import random
from collections.abc import Iterator, Mapping
from email.utils import parsedate_to_datetime
from typing import Any, Final, Self, TypeVar
from urllib.parse import quote

from pydantic import BaseModel, ModelWrapValidatorHandler, PrivateAttr, ValidationError, model_validator

from ._api_errors import (
    ApiError,
    BadAnswer,
    ConnectionFailed,
    IdempotencyInFlight,
    QuotaExceeded,
    RequestTimeout,
    Unavailable,
    error_class,
)
from ._backoff import Exponential
from ._json import dump_body
from ._wire import Answer, Call, Flow, Pause

_LONGEST_RETRY_AFTER: Final = 86_400.0
"""Seconds: what asks for more may ask for what no clock can wait."""
LONGEST_PAUSE_SECONDS: Final = 60.0
PAUSES: Final = Exponential(base=0.25, factor=2, max=8, jitter=0.5)
"""Five tries again bridge about eight seconds, a restart of the API."""

Params = list[tuple[str, str]]


class Read(BaseModel, extra="ignore", frozen=True):
    """Base of everything the API answers with. Fields that this version does not know are in `raw`.

    A null is read as if the field were absent: an answer must not fail for saying "none" where a default says so too.
    """

    _raw: dict[str, Any] = PrivateAttr(default_factory=dict)

    @model_validator(mode="wrap")
    @classmethod
    def _keep_raw(cls, data: Any, handler: ModelWrapValidatorHandler[Self]) -> Self:
        if not isinstance(data, dict):
            return handler(data)
        read = handler({name: value for name, value in data.items() if value is not None})
        read._raw = data  # noqa: SLF001 - of this very class, whose fields are frozen
        return read

    @property
    def raw(self) -> dict[str, Any]:
        """The answer as it came, JSON values."""
        return self._raw


M = TypeVar("M", bound=Read)


class Core:
    """Makes flows for single exchanges. Holds no connection, so both clients share the class."""

    def __init__(self, *, retries: int = 5, timeout: float = 30.0) -> None:
        self.retries = retries
        self.timeout = timeout

    def call(
        self,
        method: str,
        path: str,
        *,
        params: Params | None = None,
        body: Any = None,
        headers: Mapping[str, str] | None = None,
        wait: float = 0.0,
        repeatable: bool = True,
    ) -> Flow[Any]:
        """Send, try again where that is safe, and give back the JSON of the answer (None for an empty one).

        `body` is bytes of JSON, or a value to write as JSON; `wait` is how long the server may hold the answer, in
        seconds. Raises `ApiError`.
        """
        call = Call(
            method=method,
            path=path,
            params=tuple(params or ()),
            content=_encode(body),
            headers=dict(headers or {}),
            timeout=self.timeout + wait,
        )
        for pause in self._pauses():
            try:
                answer: Answer = yield call
            except ConnectionFailed as failure:
                if pause is None or not (repeatable or failure.never_sent):
                    raise
                yield Pause(pause)
                continue
            if answer.status < 300:
                return _decode(answer)
            error = error_from(answer)
            asked = error.retry_after or 0.0
            if pause is None or asked > LONGEST_PAUSE_SECONDS or not _worth_repeating(error, repeatable=repeatable):
                raise error
            yield Pause(max(pause, asked))
        raise AssertionError("the last try returns or raises")

    def read(self, model: type[M], path: str, *, params: Params | None = None) -> Flow[M]:
        """GET one thing."""
        answer = yield from self.call("GET", path, params=params)
        return parse(model, answer)

    def read_list(self, model: type[M], path: str) -> Flow[list[M]]:
        """GET an unpaged list."""
        answer = yield from self.call("GET", path)
        return [parse(model, item) for item in items_of(answer)]

    def act(self, model: type[M], path: str, body: Any = None, *, repeatable: bool = True) -> Flow[M]:
        """POST an action and read what it answers."""
        answer = yield from self.call("POST", path, body={} if body is None else body, repeatable=repeatable)
        return parse(model, answer)

    def read_any_status(self, model: type[M], path: str) -> Flow[M]:
        """GET one thing whose document is the answer whatever the status says, as with a readiness check."""
        answer: Answer = yield Call("GET", path, timeout=self.timeout)
        if not answer.content.lstrip().startswith(b"{"):
            raise error_from(answer)
        return parse(model, _decode(answer))

    def once(self, timeout: float) -> "Core":
        """The same, without tries again and with at most `timeout` seconds: for a caller that has a deadline."""
        return Core(retries=0, timeout=min(self.timeout, timeout))

    @staticmethod
    def pauses_while_waiting() -> Iterator[float]:
        """Pauses between looks at an API that is away, without an end."""
        for n in itertools.count(1):
            yield PAUSES.delay(n, random.random)

    def _pauses(self) -> Iterator[float | None]:
        """The pause after each try; None after the last."""
        for n in range(1, self.retries + 1):
            yield PAUSES.delay(n, random.random)
        yield None


def parse(model: type[M], data: Any) -> M:
    """An answer's JSON as a model. Raises `BadAnswer`."""
    try:
        return model.model_validate(data)
    except ValidationError as error:
        first = error.errors(include_url=False)[0]
        where = ".".join(str(step) for step in first["loc"]) or "the answer"
        raise BadAnswer(f"cannot read {model.__name__} in the answer: {where}: {first['msg']}") from error


def items_of(answer: Any) -> list[Any]:
    """The items of a list's answer. Raises `BadAnswer`."""
    items = answer.get("items") if isinstance(answer, Mapping) else answer
    if not isinstance(items, list):
        raise BadAnswer("the answer holds no list of items; is this the address of an Errander API?")
    return items


def segment(value: str) -> str:
    """One name or id as one segment of a path, whatever characters it has."""
    if not value:
        raise ValueError("a name or id must not be empty")
    return quote(value, safe=":")


def error_from(answer: Answer) -> ApiError:
    """The error that an answer of 300 or above is."""
    request_id = answer.headers.get("x-request-id")
    problem = _problem(answer)
    if problem is None:
        return _foreign_error(answer, request_id)
    code = str(problem.get("code") or "")
    detail = str(problem.get("detail") or problem.get("title") or f"HTTP {answer.status}")
    return error_class(answer.status, code)(
        detail,
        status=answer.status,
        code=code,
        request_id=request_id,
        problem=problem,
        retry_after=_retry_after(answer),
    )


def _foreign_error(answer: Answer, request_id: str | None) -> ApiError:
    """An answer without a problem document: from a proxy in between, or from somebody else."""
    kind = BadAnswer if answer.status < 429 else error_class(answer.status, "")
    if answer.status < 400:
        detail = f"redirected to {answer.headers.get('location', 'nowhere')}; give that address as the base URL"
    elif kind is BadAnswer:
        detail = f"HTTP {answer.status} without an explanation; is this the address of an Errander API?"
    else:
        detail = f"HTTP {answer.status}"
    return kind(detail, status=answer.status, request_id=request_id, retry_after=_retry_after(answer))


def _worth_repeating(error: ApiError, *, repeatable: bool) -> bool:
    if isinstance(error, RequestTimeout | QuotaExceeded | IdempotencyInFlight):
        return True
    return isinstance(error, Unavailable) and (repeatable or error.status == 503)


def _encode(body: Any) -> bytes | None:
    if body is None or isinstance(body, bytes):
        return body
    return dump_body(body)


def _decode(answer: Answer) -> Any:
    if not answer.content:
        return None
    try:
        return json.loads(answer.content)
    except ValueError as error:
        detail = "the answer is not JSON; is this the address of an Errander API?"
        raise BadAnswer(detail, status=answer.status, request_id=answer.headers.get("x-request-id")) from error


def _problem(answer: Answer) -> dict[str, Any] | None:
    try:
        found = json.loads(answer.content)
    except ValueError:
        return None
    return found if isinstance(found, dict) and ("code" in found or "detail" in found or "title" in found) else None


def _retry_after(answer: Answer) -> float | None:
    """Seconds of a `Retry-After` header, in either of its forms (RFC 9110, 10.2.3), a day at most."""
    text = answer.headers.get("retry-after", "")
    if not text:
        return None
    try:
        return min(max(0.0, float(text)), _LONGEST_RETRY_AFTER)
    except ValueError:
        pass
    try:
        sent = parsedate_to_datetime(answer.headers["date"])  # the server's clock, so that ours does not matter
        return min(max(0.0, (parsedate_to_datetime(text) - sent).total_seconds()), _LONGEST_RETRY_AFTER)
    except (KeyError, ValueError, TypeError):
        return None
