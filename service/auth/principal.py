"""Who asks: what the guard knows of a request's credential, and what routes ask of it."""

from collections.abc import MutableMapping
from dataclasses import dataclass
from typing import Any, Final

from starlette.requests import HTTPConnection

from db.lifecycle import Priority
from service.auth.scopes import EVERYTHING, Scope
from service.http.problems import Problem

DEFAULT_TENANT: Final = "default"
"""Whose everything is where credentials name no tenant."""

_KEY: Final = "errander.principal"
_RANK: Final = {priority: rank for rank, priority in enumerate((Priority.LOW, Priority.DEFAULT, Priority.HIGH))}


@dataclass(frozen=True, slots=True)
class Principal:
    """Whoever a request comes from."""

    name: str
    """`key:<id>`, `jwt:<sub>`, or `anyone` where nobody is asked: what the audit log names."""
    tenant: str
    """Whose jobs, keys and idempotency keys these are."""
    scopes: frozenset[Scope]
    tasks: tuple[str, ...] | None = None
    """Tasks that may be used, exact names or prefixes such as `email.*`; None: all."""
    max_priority: Priority | None = None
    """The highest priority that may be asked for; None: any."""
    key_id: str | None = None
    """The API key behind it, directly or through a token that was made for it."""
    expires_at: float | None = None
    """When the credential ends, in seconds since 1970: a JWT by its `exp`, a key when it expires or retires, whichever is
    first, and a token that was made for a key with the earlier of both. None: not by itself."""
    leeway: float = 0.0
    """Seconds after that in which it is let in all the same, and what lasts goes on: clocks may be apart."""

    @property
    def ends_at(self) -> float | None:
        """From when on it is refused, in seconds since 1970; None: it does not end by itself."""
        return None if self.expires_at is None else self.expires_at + self.leeway

    @property
    def is_restricted(self) -> bool:
        """Whether less is allowed than the scopes say."""
        return self.tasks is not None or self.max_priority is not None

    def may_use(self, task: str) -> bool:
        """Whether jobs of `task` may be submitted and changed."""
        return self.tasks is None or any(_fits(task, allowed) for allowed in self.tasks)

    def may_ask(self, priority: str) -> bool:
        """Whether jobs of `priority` may be asked for."""
        return self.max_priority is None or _RANK[Priority(priority)] <= _RANK[self.max_priority]

    @property
    def priorities(self) -> frozenset[Priority]:
        """The priorities that may be asked for."""
        return frozenset(filter(self.may_ask, Priority))

    def refusal(self, task: str, priority: str | None = None) -> str | None:
        """Why a job of `task` (and `priority`) may not be submitted or changed, in words; None: it may."""
        if not self.may_use(task):
            return f"this credential is for the tasks {', '.join(self.tasks or ())}, not {task}"
        if priority is not None and not self.may_ask(priority):
            return f"this credential allows no priority above {self.max_priority}, and this is {priority}"
        return None

    def require(self, task: str, priority: str | None = None) -> None:
        """Raises Problem `forbidden` where a job of `task` (and `priority`) is not this credential's to touch."""
        refused = self.refusal(task, priority)
        if refused is not None:
            raise Problem("forbidden", refused)


def _fits(task: str, allowed: str) -> bool:
    return task.startswith(allowed[:-1]) if allowed.endswith(".*") else task == allowed


ANYONE: Final = Principal("anyone", DEFAULT_TENANT, EVERYTHING)
"""Everybody, where `ERRANDER_AUTH` is `off`."""


def set_principal(scope: MutableMapping[str, Any], principal: Principal) -> None:
    """Keeps who asks with the request; the guard does, before any route runs."""
    scope[_KEY] = principal


def principal_of(request: HTTPConnection) -> Principal:
    """Who asks. Raises RuntimeError on a route that the guard lets everybody use."""
    found: Principal | None = request.scope.get(_KEY)
    if found is None:
        raise RuntimeError(f"{request.url.path} is open to everybody and has no principal")
    return found
