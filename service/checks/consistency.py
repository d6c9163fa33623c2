"""Checking a deployment for broken rules: PostgreSQL's and Redis's together, for `errander fsck` and the API."""

import asyncio
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from typing import Any
from uuid import UUID

from pydantic import Field
from redis.exceptions import RedisError

from db import consistency, consistency_kept, consistency_rules, lists
from db.audit import Action, Kind
from db.consistency import EXAMPLES, Answer, Limits
from db.consistency_kept import Kept
from db.consistency_repair import Mended, mend
from db.consistency_rules import Found, Rule, Severity
from db.consistency_sweep import CHUNK, WALKS, sweep
from db.engine import Database, Link
from db.filters import JobFilter
from db.reading import Reader
from service import audit
from service.checks import consistency_hints
from service.checks.consistency_hints import HintLimits
from service.representation import moment_text
from service.settings import DoctorSettings
from workers.redis_client import connect

RULES: Mapping[str, Rule] = {**consistency_rules.RULES, **consistency_hints.RULES}
"""Code → rule, of everything that is checked."""

REDIS_SECONDS = 5.0
"""How long Redis may take in all; an operator does not wait for what cannot be an error."""


class FsckSettings(DoctorSettings):
    """What `errander fsck` needs to know."""

    hint_window: int = Field(5000, ge=1, validation_alias="ERRANDER_HINT_WINDOW")
    """Ids a queue has in Redis at most."""
    hint_horizon_seconds: float = Field(60.0, gt=0, validation_alias="ERRANDER_HINT_HORIZON_SECONDS")
    """How far ahead a future job is published."""


@dataclass(slots=True)
class Report:
    """What a check found, and what a repair did before."""

    checked_at: datetime
    found: dict[str, Found] = field(default_factory=dict)
    checked: list[str] = field(default_factory=list)
    """Codes that could be judged."""
    looked_at: dict[str, int] = field(default_factory=dict)
    """Place → rows, or for `redis` members and keys."""
    repaired: dict[str, Found] = field(default_factory=dict)
    last_scheduled: Kept | None = None

    @property
    def clean(self) -> bool:
        """Nothing of it is an error."""
        return consistency_rules.is_clean(self.found, RULES)

    def add(self, found: Mapping[str, Found], looked_at: Mapping[str, int]) -> None:
        """Takes a part of the findings in; no two parts judge the same rules."""
        self.found |= {
            code: Found(one.code, one.count, one.examples[:EXAMPLES]) for code, one in found.items() if one.count
        }
        self.looked_at |= looked_at

    def note_repair(self, code: str, names: tuple[str, ...]) -> None:
        """Adds to what was repaired."""
        before = self.repaired.get(code, Found(code, 0))
        self.repaired[code] = Found(code, before.count + len(names), (*before.examples, *names)[:EXAMPLES])


@dataclass(frozen=True, slots=True)
class Check:
    """One check of one deployment. Raises the errors of `db.errors`; what Redis does is a finding."""

    database: Database
    redis_url: str
    limits: Limits
    hints: HintLimits
    repair: bool = False
    tell: Callable[[str, int], None] = lambda _place, _rows: None

    async def run(self, *, full: bool = False) -> Report:
        """Checks, repairs if it may, and reports what is left."""
        report = Report(datetime.now(UTC), checked=list(consistency_rules.RULES))
        await (self._full(report) if full else self._default(report))
        await self._redis(report)
        report.last_scheduled = await consistency_kept.kept(self.database.link)
        return report

    async def _default(self, report: Report) -> None:
        seen = await consistency.examine(self.database, self._wide)
        while self.repair and await self._mend(report, seen.found):
            seen = await consistency.examine(self.database, self._wide)
        report.add(seen.found, seen.looked_at)

    async def _full(self, report: Report) -> None:
        async def mend_step(answer: Answer) -> int:
            return await self._mend(report, {one.code: one for one in answer.found})

        for walk in WALKS:
            mending = mend_step if self.repair else None
            seen = await sweep(self.database, walk, self._wide, tell=self.tell, mend=mending)
            report.add(seen.found, seen.looked_at)
        seen = await consistency.examine(self.database, self.limits, tables=False)
        report.add(seen.found, seen.looked_at)

    @property
    def _wide(self) -> Limits:
        """A repair needs the names of all that was found, not examples."""
        if not self.repair:
            return self.limits
        return replace(self.limits, examples=max(CHUNK, self.limits.examples))

    async def _mend(self, report: Report, found: Mapping[str, Found]) -> int:
        mended = await mend(self.database, found.values(), _told)
        for one in mended:
            report.note_repair(one.code, (str(one.id),))
        return len(mended)

    async def _redis(self, report: Report) -> None:
        report.checked.append(consistency_hints.UNAVAILABLE)
        try:
            async with asyncio.timeout(REDIS_SECONDS):
                await self._hints(report)
        except (RedisError, OSError, TimeoutError):
            report.add({consistency_hints.UNAVAILABLE: Found(consistency_hints.UNAVAILABLE, 1)}, {})

    async def _hints(self, report: Report) -> None:
        redis = connect(self.redis_url)
        try:
            seen = await consistency_hints.look(redis, self.database, self.hints)
            if self.repair:
                for done in await consistency_hints.repair(redis, self.database, seen):
                    report.repaired[done.code] = done
                seen = await consistency_hints.look(redis, self.database, self.hints)
        finally:
            await redis.aclose()
        report.add(seen.found, {"redis": seen.looked_at})
        report.checked += [code for code in consistency_hints.RULES if code != consistency_hints.UNAVAILABLE]


async def for_tenant(database: Database, report: Report, tenant: str) -> Report:
    """`report` as a tenant may see it: it counts everybody's jobs, and names only the tenant's own.

    Raises the errors of `db.errors`.
    """
    named = frozenset(
        UUID(name) for code, one in report.found.items() if RULES[code].names_jobs for name in one.examples
    )
    own, _ = await lists.ids(Reader(database), tenant, JobFilter(ids=named), len(named)) if named else ([], False)
    names = frozenset(str(job_id) for job_id in own)
    found = {
        code: replace(one, examples=tuple(name for name in one.examples if name in names))
        if RULES[code].names_jobs
        else one
        for code, one in report.found.items()
    }
    return replace(report, found=found)


async def _told(link: Link, mended: Sequence[Mended]) -> None:
    """Writes a repair into the audit log: only somebody on the machine itself can ask for one."""
    codes = Counter(one.code for one in mended)
    ids = sorted({one.id for one in mended})
    await audit.record_local(link, Action.CONSISTENCY_REPAIR, Kind.JOBS, after={"mended": codes}, object_ids=ids)


def document(report: Report) -> dict[str, Any]:
    """The report as clients see it; errors come before warnings. Pure."""
    return {
        "checked_at": moment_text(report.checked_at),
        "clean": report.clean,
        "findings": [_finding(one) for one in ordered(report.found)],
        "checked": sorted(report.checked),
        "looked_at": report.looked_at,
        "last_scheduled": _kept(report.last_scheduled),
    }


def repaired(report: Report) -> list[dict[str, Any]]:
    """What a repair mended, as clients see it. Pure."""
    return [{"code": one.code, "count": one.count, "examples": list(one.examples)} for one in ordered(report.repaired)]


def ordered(found: Mapping[str, Found]) -> list[Found]:
    """Errors before warnings, each by code. Pure."""
    return sorted(found.values(), key=lambda one: (RULES[one.code].severity != Severity.ERROR, one.code))


def _finding(one: Found) -> dict[str, Any]:
    rule = RULES[one.code]
    return {
        "code": one.code,
        "severity": rule.severity.value,
        "count": one.count,
        "examples": list(one.examples),
        "message": rule.message,
        "action": rule.action,
    }


def _kept(kept: Kept | None) -> dict[str, Any] | None:
    if kept is None:
        return None
    return {
        "checked_at": moment_text(kept.checked_at),
        "seconds": kept.seconds,
        "worker": str(kept.worker),
        "clean": kept.clean,
        "counts": kept.counts,
    }
