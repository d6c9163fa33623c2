"""What the API refused, or why it could not be asked: one class a problem `code`. The tree is drawn in `_errors`."""

from collections.abc import Mapping
from typing import Any, Final

from ._errors import ErranderError, FieldError, rebuild


class ApiError(ErranderError):
    """The API refused a request or could not be reached.

    `status` is the HTTP status (0: no answer), `code` the problem's code, `detail` what to tell a person,
    `request_id` what finds the request in the server's log, `problem` the whole problem document. `accepted` holds
    the ids of jobs that earlier requests of the same `submit_many` were answered with.
    """

    def __init__(
        self,
        detail: str,
        *,
        status: int = 0,
        code: str = "",
        request_id: str | None = None,
        problem: Mapping[str, Any] | None = None,
        retry_after: float | None = None,
    ) -> None:
        super().__init__(detail)
        self.detail = detail
        self.status = status
        self.code = code
        self.request_id = request_id
        self.problem: Mapping[str, Any] = dict(problem or {})
        self.retry_after = retry_after
        self.accepted: tuple[str, ...] = ()

    def __str__(self) -> str:
        name = " ".join(part for part in (str(self.status or ""), self.code) if part)
        where = f" (request {self.request_id})" if self.request_id else ""
        return f"{name}: {self.detail}{where}" if name else f"{self.detail}{where}"

    def __reduce__(self) -> tuple[Any, ...]:
        return rebuild, (type(self), self.args, self.__dict__)

    @property
    def job_id(self) -> str | None:
        """The job the problem is about, where the server named one."""
        value = self.problem.get("job_id")
        return value if isinstance(value, str) else None

    @property
    def errors(self) -> tuple[FieldError, ...]:
        """The refused values, for a request that did not validate."""
        items = self.problem.get("errors")
        if not isinstance(items, list):
            return ()
        return tuple(
            FieldError(str(item.get("pointer", "")), str(item.get("detail", "")), str(item.get("code", "")))
            for item in items
            if isinstance(item, Mapping)
        )


class ConnectionFailed(ApiError):
    """No answer came: the address is wrong, nothing listens there, or the network failed.

    `never_sent` is true when the request cannot have reached the server.
    """

    never_sent: bool = False


class BadAnswer(ApiError):
    """An answer came that is not this API's: a proxy's page, or another service at this address."""


class BadRequest(ApiError):
    """The request was malformed, too large, of a kind the route does not take, or for a name the server does not serve."""


class RequestTimeout(ApiError):
    """The request did not arrive in time, so nothing was done. It was tried again and still did not."""


class ValidationFailed(ApiError):
    """The request did not validate; `errors` points at each refused value."""

    def __str__(self) -> str:
        listed = [f"{error.pointer or '/'}: {error.detail}" for error in self.errors[:5]]
        # `detail` most often begins with the first of them
        return "; ".join([super().__str__(), *(text for text in listed if not self.detail.startswith(text))])


class TaskNotKnown(ValidationFailed):
    """Nothing has announced a task of this name. `similar` holds names that come close."""

    @property
    def similar(self) -> tuple[str, ...]:
        """Known names that come close."""
        names = self.problem.get("similar")
        return tuple(str(name) for name in names) if isinstance(names, list) else ()

    def __str__(self) -> str:
        *others, last = self.similar[:3] or ("",)
        names = f"{', '.join(others)} or {last}" if others else last
        return f"{super().__str__()}; did you mean {names}?" if names else super().__str__()


class Unauthenticated(ApiError):
    """No credential, or one that is not valid (any more)."""


class Forbidden(ApiError):
    """The credential lacks the scope that `detail` names."""


class NotFound(ApiError):
    """There is no such job, task, queue, worker or route."""


class Conflict(ApiError):
    """The job's state does not allow it."""

    @property
    def job_status(self) -> str | None:
        """The job's status at that moment, where the server said."""
        # The document's own `status` is the HTTP status; a server names the job's beside it or instead of it.
        for name in ("job_status", "status"):
            value = self.problem.get(name)
            if isinstance(value, str):
                return value
        return None


class JobAlreadyFinal(Conflict):
    """The job is final and cannot be cancelled."""


class JobNotWaiting(Conflict):
    """Only a waiting job can be edited or run now."""


class NotReplayable(Conflict):
    """Only a FAILED or CANCELLED job can be replayed."""


class UniqueConflict(Conflict):
    """Another job holds the unique key."""


class KeyNotActive(Conflict):
    """The API key has expired or was revoked, so it has no successor."""


class RotationUnderWay(Conflict):
    """The API key gives way to a successor already; two of one chain are valid at a time."""


class IdempotencyInFlight(Conflict):
    """The first request with this key is still under way. It was retried and still was."""


class IdempotencyKeyReused(ApiError):
    """The key was used for other content; `job_id` is the job it made."""

    @property
    def differs(self) -> tuple[str, ...]:
        """JSON pointers to the fields that differ."""
        pointers = self.problem.get("differs")
        return tuple(str(pointer) for pointer in pointers) if isinstance(pointers, list) else ()


class PreconditionFailed(ApiError):
    """The job has changed since it was read with the entity tag that `If-Match` named; nothing was done."""


class QuotaExceeded(ApiError):
    """Too many requests; `retry_after` is the server's wish in seconds."""


class Unavailable(ApiError):
    """The API answers but cannot work now, for example without its database."""


class ServerError(ApiError):
    """The server failed; `request_id` finds it in the log."""


_BY_CODE: Final[dict[str, type[ApiError]]] = {
    "malformed-request": BadRequest,
    "malformed-json": BadRequest,
    "unsupported-media-type": BadRequest,
    "method-not-allowed": BadRequest,
    "payload-too-large": BadRequest,
    "uri-too-long": BadRequest,
    "headers-too-large": BadRequest,
    "misdirected-request": BadRequest,
    "request-timeout": RequestTimeout,
    "validation-failed": ValidationFailed,
    "unknown-task": TaskNotKnown,
    "unauthenticated": Unauthenticated,
    "forbidden": Forbidden,
    "not-found": NotFound,
    "job-already-final": JobAlreadyFinal,
    "job-not-waiting": JobNotWaiting,
    "not-replayable": NotReplayable,
    "unique-conflict": UniqueConflict,
    "key-not-active": KeyNotActive,
    "rotation-under-way": RotationUnderWay,
    "precondition-failed": PreconditionFailed,
    "idempotency-in-flight": IdempotencyInFlight,
    "idempotency-key-reused": IdempotencyKeyReused,
    "quota-exceeded": QuotaExceeded,
    "unavailable": Unavailable,
    "internal": ServerError,
}

_BY_STATUS: Final[dict[int, type[ApiError]]] = {
    401: Unauthenticated,
    403: Forbidden,
    404: NotFound,
    408: RequestTimeout,
    409: Conflict,
    412: PreconditionFailed,
    422: ValidationFailed,
    429: QuotaExceeded,
    502: Unavailable,
    503: Unavailable,
    504: Unavailable,
}


def error_class(status: int, code: str) -> type[ApiError]:
    """The class for a problem's `code`, else for its HTTP status."""
    if code in _BY_CODE:
        return _BY_CODE[code]
    if status in _BY_STATUS:
        return _BY_STATUS[status]
    return ServerError if status >= 500 else BadRequest
