"""Idempotency keys: what a client's key means, and who holds it.

A key belongs to a tenant and a route and is stored in the transaction of the jobs it made. Its content is a map from
JSON Pointer to digest of what the client sent there, so that a second use with other content can be told where it
differs. Entries that begin with `@` are no pointers: they keep what an answer says and a job's row no longer does.
"""

import hashlib
import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any
from uuid import UUID

from db.engine import Link
from db.jobs import Accepted, NewJob, accepted, arrays

PATIENCE = "200ms"
"""How long a submit waits for another one that is just storing the same key."""

SPREAD = 64
"""An object or array of up to this many members is compared member by member, a larger one as a whole."""

_DEEPER = frozenset({"payload", "metadata", "backoff", "jobs"})


@dataclass(frozen=True, slots=True)
class Held:
    """A key that somebody holds."""

    content: Mapping[str, Any]
    job_ids: tuple[UUID, ...]
    expired: bool
    """All its jobs have been final for longer than keys are held, so it may be won anew."""

    @property
    def run_at(self) -> datetime | None:
        """`run_at` of its job as it was accepted."""
        return _moment(self.content.get("@run_at"))

    @property
    def expires_at(self) -> datetime | None:
        """`expires_at` of its job as it was accepted."""
        return _moment(self.content.get("@expires_at"))


@dataclass(frozen=True, slots=True)
class Claim:
    """A key to be won for jobs that the same transaction will insert."""

    route: str
    key: str
    content: Mapping[str, str]
    jobs: Sequence[NewJob]


def _moment(value: Any) -> datetime | None:
    return datetime.fromisoformat(value) if isinstance(value, str) else None


def digests(sent: Mapping[str, Any]) -> dict[str, str]:
    """The content of a request: pointer → digest of the canonical JSON that the client sent there. Pure.

    Top-level fields, and one level deeper inside `payload`, `metadata`, `backoff` and `jobs` while they are small.
    """
    found: dict[str, str] = {}
    for name, value in sent.items():
        pointer = f"/{_escaped(name)}"
        if name in _DEEPER and isinstance(value, dict | list) and 0 < len(value) <= SPREAD:
            members: Iterable[tuple[Any, Any]] = value.items() if isinstance(value, dict) else enumerate(value)
            found.update((f"{pointer}/{_escaped(str(inner))}", _digest(part)) for inner, part in members)
        else:
            found[pointer] = _digest(value)
    return found


def differing(kept: Mapping[str, Any], sent: Mapping[str, str]) -> list[str]:
    """Pointers at which two contents are not the same, sorted."""
    plain = {pointer: digest for pointer, digest in kept.items() if not pointer.startswith("@")}
    return sorted(pointer for pointer in plain.keys() | sent.keys() if plain.get(pointer) != sent.get(pointer))


_canonical = json.JSONEncoder(sort_keys=True, separators=(",", ":")).encode


def _digest(value: Any) -> str:
    return hashlib.blake2b(_canonical(value).encode(), digest_size=12).hexdigest()


def _escaped(token: str) -> str:
    return token.replace("~", "~0").replace("/", "~1")


async def submit(
    link: Link,
    tenant: str | Sequence[str],
    route: str,
    *,
    jobs: Sequence[NewJob],
    contents: Sequence[Mapping[str, str]],
    hours: float,
) -> list[Accepted]:
    """Wins the keys of `jobs` and inserts those whose key was won, in one statement that commits by itself.

    `tenant` owns all of them, or is one tenant for each; of two jobs with one key the one with the smaller id wins it.
    Raises Locked if another submit holds one of the keys uncommitted for longer than `PATIENCE`, and BadRow if one of
    the jobs cannot be stored; then none is.
    """
    rows = await link.fetch(
        "submit_keyed",
        route=route,
        patience=PATIENCE,
        hours=hours,
        contents=[json.dumps(content) for content in contents],
        **arrays(tenant, jobs),
    )
    return [accepted(row) for row in rows]


async def claim(link: Link, tenant: str, claims: Sequence[Claim], hours: float) -> set[tuple[str, str]]:
    """Wins keys inside a transaction whose lock timeout the caller has set; returns the (route, key) pairs won."""
    longest = [_longest(claim.jobs) for claim in claims]
    rows = await link.fetch(
        "claim_keys",
        tenant=tenant,
        routes=[claim.route for claim in claims],
        keys=[claim.key for claim in claims],
        contents=[json.dumps(claim.content) for claim in claims],
        job_ids=[json.dumps([str(job.id) for job in claim.jobs]) for claim in claims],
        run_ats=[job.run_at for job in longest],
        delays=[job.delay for job in longest],
        expires_ats=[job.expires_at for job in longest],
        expires_ins=[job.expires_in for job in longest],
        hours=hours,
    )
    return {(row["route"], row["key"]) for row in rows}


def _longest(jobs: Sequence[NewJob]) -> NewJob:
    """The job that stands for all of a key's: where they differ it only decides when the pruner looks first."""
    return max(
        jobs, key=lambda job: (job.run_at is not None, job.run_at.timestamp() if job.run_at else 0, job.delay or 0)
    )


async def held(link: Link, tenant: str, keys: Sequence[tuple[str, str]], hours: float) -> dict[tuple[str, str], Held]:
    """Those of the (route, key) pairs that somebody holds."""
    rows = await link.fetch(
        "held_keys", tenant=tenant, routes=[route for route, _ in keys], keys=[key for _, key in keys], hours=hours
    )
    return {
        (row["route"], row["key"]): Held(json.loads(row["content"]), tuple(row["job_ids"]), row["expired"])
        for row in rows
    }


async def drop_expired(link: Link, tenant: str, keys: Sequence[tuple[str, str]], hours: float) -> None:
    """Ends those of `keys` that have expired, inside a transaction, so that they can be won anew in it."""
    pairs = sorted(keys)
    binds = {"tenant": tenant, "routes": [route for route, _ in pairs], "keys": [key for _, key in pairs]}
    await link.fetch("lock_keys", **binds)
    over = [pair for pair, holder in (await held(link, tenant, pairs, hours)).items() if holder.expired]
    await link.fetch("drop_keys", tenant=tenant, routes=[route for route, _ in over], keys=[key for _, key in over])
