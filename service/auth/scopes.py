"""What a credential may be allowed to do, and the usual bundles of it."""

from collections.abc import Iterable
from enum import StrEnum
from typing import Final


class Scope(StrEnum):
    """One thing that a credential allows. Jobs and keys are those of the credential's tenant; the rest is shared by all."""

    JOBS_SUBMIT = "jobs:submit"
    """Submit jobs, and change those that wait."""
    JOBS_READ = "jobs:read"
    """Read jobs: payloads, results and errors included."""
    JOBS_CANCEL = "jobs:cancel"
    """Cancel jobs."""
    JOBS_REPLAY = "jobs:replay"
    """Replay final jobs, start waiting ones now."""
    QUEUES_READ = "queues:read"
    """See figures of queues and tasks, of all tenants together."""
    QUEUES_MANAGE = "queues:manage"
    """Pause and resume queues and tasks, for all tenants."""
    WORKERS_READ = "workers:read"
    """See workers."""
    WORKERS_MANAGE = "workers:manage"
    """Drain workers."""
    SCHEDULES_READ = "schedules:read"
    """Read schedules."""
    SCHEDULES_MANAGE = "schedules:manage"
    """Change schedules."""
    KEYS_MANAGE = "keys:manage"
    """Make API keys with no more than one's own scopes, list and revoke them."""
    AUDIT_READ = "audit:read"
    """Read who did what."""


EVERYTHING: Final = frozenset(Scope)
_VIEWER: Final = frozenset({Scope.JOBS_READ, Scope.QUEUES_READ, Scope.WORKERS_READ, Scope.SCHEDULES_READ})

ROLES: Final[dict[str, frozenset[Scope]]] = {
    "viewer": _VIEWER,
    "submitter": frozenset({Scope.JOBS_SUBMIT, Scope.JOBS_READ}),
    "operator": _VIEWER
    | {Scope.JOBS_SUBMIT, Scope.JOBS_CANCEL, Scope.JOBS_REPLAY, Scope.QUEUES_MANAGE}
    | {Scope.WORKERS_MANAGE, Scope.SCHEDULES_MANAGE},
    "admin": EVERYTHING,
}
"""Names that stand for several scopes wherever scopes are given."""

OURS: Final = "errander:"
"""Before a name in the token of an issuer that may serve others too, says that this service is meant."""

NAMES: Final = (*(str(scope) for scope in Scope), *ROLES)
"""Everything that may stand where scopes are given."""


def expanded(names: Iterable[str]) -> frozenset[Scope]:
    """The scopes that `names` stand for, roles taken apart. Raises ValueError naming what is neither. Pure."""
    found: set[Scope] = set()
    for name in names:
        if name in ROLES:
            found |= ROLES[name]
        elif name in frozenset(Scope):
            found.add(Scope(name))
        else:
            raise ValueError(f"{name[:100]!r} is no scope or role; there are {', '.join(NAMES)}")
    return frozenset(found)


def known(names: Iterable[str]) -> frozenset[Scope]:
    """The same, where names that mean nothing here are left out: a token may be made for several services. Pure."""
    return expanded(name for name in names if name in NAMES)


def foreign(names: Iterable[str]) -> frozenset[Scope]:
    """The same for the token of an issuer that serves several services, where `admin` may be anybody's.

    A role counts as `errander:admin` only; a scope names what it is about itself, with or without that. Pure.
    """
    return known(name.removeprefix(OURS) for name in names if ":" in name)
