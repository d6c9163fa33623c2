"""Looking for hints that cannot be, in Redis, and removing them.

Nothing here breaks a promise: a hint that is wrong costs a worker a look, and one that is missing a second. So every
finding is a warning, and so is a Redis that does not answer. What is looked at is bounded: the first members of each
queue, and as many keys as some rounds of SCAN return.
"""

import re
from collections.abc import Sequence
from dataclasses import dataclass, field
from itertools import islice
from uuid import UUID

from redis.asyncio import Redis

from db import consistency, workers
from db.consistency import EXAMPLES, Hinted
from db.consistency_rules import Found, Rule, Severity
from db.engine import Database
from db.lifecycle import Priority
from workers.hints import DEEP_MS, DEFAULT_POOL, queue_name

PREFIX = "errander:"
PAYLOAD = "arq:job:"
TAKEN_SECONDS = 10.0
"""A due hint that nobody has taken for so long is not on its way any more."""
MARGIN_SECONDS = 60.0
"""A hint this much later than the horizon was not published by us."""

_ID = re.compile(r"^[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}$")
_POOL = r"[a-z0-9][a-z0-9_-]{0,62}"
_QUEUE = re.compile(rf"^errander:(?:{_POOL}:)?(?:{'|'.join(Priority)})$")
_HEALTH = re.compile(rf"^errander:{_POOL}:all:health-check$")
# Counts of `service.limits`: moments of requests, or two numbers under names in braces.
_COUNT = r"LIMITER/(?:key|tenant|auth)/[0-9a-f]{32}/\d+/\d+/[a-z]+"
_LIMIT = re.compile(rf"^errander:limit:(?:({_COUNT})|\{{{_COUNT}\}}(?:/-1)?)$")
_SUFFIXES = {":deep": "string", ":wake": "list", ":health-check": "string"}
_SCAN = 1000
_LEFTOVERS = 1000  # payload keys a look; each costs a round trip

UNAVAILABLE = "redis-unavailable"
_REPAIR = "`errander fsck --repair`"

_RULES = (
    Rule(
        UNAVAILABLE,
        Severity.WARNING,
        "Redis could not be asked; jobs run without it and start up to a second later",
        "see `errander doctor`",
        names_jobs=False,
    ),
    Rule(
        "hint-malformed",
        Severity.WARNING,
        "members of a queue in Redis are no ids of jobs; a worker drops them when they fall due",
        f"{_REPAIR} removes them; find out who else writes to this Redis",
        repairable=True,
        names_jobs=False,
    ),
    Rule(
        "hint-stale",
        Severity.WARNING,
        "hints name jobs that are gone, or final and not taken; a worker drops them when it takes them",
        f"{_REPAIR} removes them",
        repairable=True,
    ),
    Rule(
        "hint-window",
        Severity.WARNING,
        "queues in Redis hold more than two windows of hints (examples: queues); somebody else publishes there",
        "publish over the API, which keeps to ERRANDER_HINT_WINDOW; workers drain what is there",
        names_jobs=False,
    ),
    Rule(
        "deep-unbounded",
        Severity.WARNING,
        "marks of a deep backlog never expire (examples: keys), so their queues have no hints",
        f"{_REPAIR} gives them their two seconds",
        repairable=True,
        names_jobs=False,
    ),
    Rule(
        "payload-leftover",
        Severity.WARNING,
        "keys arq:job:ID stand in Redis without a hint; they expire by themselves after a day",
        f"{_REPAIR} removes them",
        repairable=True,
    ),
    Rule(
        "redis-key-unknown",
        Severity.WARNING,
        "keys that begin with errander: are none of this version's, or of another type (examples: keys)",
        "if no other version and nothing of yours writes them, delete them by hand",
        names_jobs=False,
    ),
)

RULES = {rule.code: rule for rule in _RULES}
"""Code → rule, of everything that concerns Redis."""


@dataclass(frozen=True, slots=True)
class HintLimits:
    """What publishers keep to, and how much is looked at."""

    window: int = 5000
    horizon: float = 60.0
    """Seconds."""
    members: int = 10_000
    """Members of each queue."""
    rounds: int = 50
    """Calls of SCAN for each pattern, a thousand keys each."""


@dataclass(slots=True)
class HintLook:
    """What was found, whole: a repair needs all of it, not examples."""

    malformed: list[tuple[str, bytes]] = field(default_factory=list)
    stale: list[tuple[str, UUID]] = field(default_factory=list)
    full: list[str] = field(default_factory=list)
    endless: list[str] = field(default_factory=list)
    leftovers: list[UUID] = field(default_factory=list)
    unknown: list[str] = field(default_factory=list)
    looked_at: int = 0
    """Members and keys."""

    @property
    def found(self) -> dict[str, Found]:
        """The same as findings."""
        named = {
            "hint-malformed": [f"{queue} {member[:60]!r}" for queue, member in self.malformed],
            "hint-stale": [str(job_id) for _, job_id in self.stale],
            "hint-window": self.full,
            "deep-unbounded": self.endless,
            "payload-leftover": [str(job_id) for job_id in self.leftovers],
            "redis-key-unknown": self.unknown,
        }
        return {code: Found(code, len(names), tuple(names[:EXAMPLES])) for code, names in named.items() if names}


async def look(redis: Redis, database: Database, limits: HintLimits) -> HintLook:
    """One look. Raises what the client raises, and the errors of `db.errors`."""
    return await _Looker(redis, database, limits).look()


class _Looker:
    """One look while it is under way."""

    def __init__(self, redis: Redis, database: Database, limits: HintLimits) -> None:
        self._redis = redis
        self._database = database
        self._limits = limits
        self._seen = HintLook()
        self._hinted: set[UUID] = set()

    async def look(self) -> HintLook:
        queues = await self._queues()
        seconds, micros = await self._redis.time()
        for queue in queues:
            await self._members(queue, seconds * 1000 + micros / 1000)
        await self._payloads(queues)
        return self._seen

    async def _queues(self) -> list[str]:
        """The queues that are there, or that a worker serves; on the way, what is wrong with the other keys."""
        queues = {queue_name(DEFAULT_POOL, priority) for priority in Priority}
        for row in await workers.list_workers(self._database.link):
            queues |= {queue_name(row["pool"], priority) for priority in row["priorities"]}
        known = sorted(queues | set(await self._scan(f"{PREFIX}*")))
        async with self._redis.pipeline(transaction=False) as pipeline:
            for key in known:
                pipeline.type(key)
                pipeline.pttl(key)
            answers = await pipeline.execute()
        for key, kind, left in zip(known, answers[::2], answers[1::2], strict=True):
            if kind == b"none":
                continue
            if kind.decode() != _type_of(key):
                self._seen.unknown.append(key)
                queues.discard(key)
            elif _QUEUE.match(key):
                queues.add(key)
            elif key.endswith(":deep") and left == -1:
                self._seen.endless.append(key)
        return sorted(queues)

    async def _members(self, queue: str, now_ms: float) -> None:
        if await self._redis.zcard(queue) > 2 * self._limits.window:
            self._seen.full.append(queue)
        members: list[tuple[bytes, float]] = await self._redis.zrange(
            queue, 0, self._limits.members - 1, withscores=True
        )
        self._seen.looked_at += len(members)
        scores: dict[UUID, float] = {}
        for member, score in members:
            job_id = _id_of(member)
            if job_id is None:
                self._seen.malformed.append((queue, member))
            else:
                scores[job_id] = score
        self._hinted |= set(scores)
        jobs = await consistency.hinted(self._database.link, list(scores))
        earliest = now_ms - TAKEN_SECONDS * 1000
        latest = now_ms + (self._limits.horizon + MARGIN_SECONDS) * 1000
        self._seen.stale += [
            (queue, job_id)
            for job_id, score in scores.items()
            if _is_stale(jobs.get(job_id), on_its_way=earliest <= score <= latest)
        ]

    async def _payloads(self, queues: Sequence[str]) -> None:
        """Payload keys without a hint. Other applications may keep keys of this form here, so only our jobs' count."""
        named = [_id_of(key.removeprefix(PAYLOAD).encode()) for key in await self._scan(f"{PAYLOAD}*")]
        alone = [job_id for job_id in named if job_id is not None and job_id not in self._hinted]
        jobs = await consistency.hinted(self._database.link, alone[: self._limits.members])
        for job_id, job in islice(jobs.items(), _LEFTOVERS):
            # at once, because a take removes both and a publish makes both
            async with self._redis.pipeline(transaction=True) as pipeline:
                pipeline.exists(f"{PAYLOAD}{job_id}")
                for queue in {queue_name(job.pool, job.priority), *queues}:
                    pipeline.zscore(queue, str(job_id))
                there, *scores = await pipeline.execute(raise_on_error=False)
            if there == 1 and all(score is None for score in scores):
                self._seen.leftovers.append(job_id)

    async def _scan(self, pattern: str) -> list[str]:
        keys: set[str] = set()
        cursor = 0
        for _ in range(self._limits.rounds):
            cursor, found = await self._redis.scan(cursor, match=pattern, count=_SCAN)
            keys |= {key.decode("utf-8", "backslashreplace") for key in found}
            if cursor == 0:
                break
        self._seen.looked_at += len(keys)
        return sorted(keys)


def _type_of(key: str) -> str | None:
    """The type that a key of ours has, None for a key that is none of ours. Pure."""
    if _QUEUE.match(key):
        return "zset"
    if _HEALTH.match(key):
        return "string"
    counted = _LIMIT.match(key)
    if counted:
        return "list" if counted[1] else "string"
    for suffix, kind in _SUFFIXES.items():
        if key.endswith(suffix) and _QUEUE.match(key.removesuffix(suffix)):
            return kind
    return None


def _is_stale(job: Hinted | None, *, on_its_way: bool) -> bool:
    """A job may have ended a moment ago, or while its hint waited to fall due: then its hint is simply on its way out."""
    return job is None or (job.final and not on_its_way)


def _id_of(text: bytes) -> UUID | None:
    decoded = text.decode("ascii", "replace")
    return UUID(decoded) if _ID.match(decoded) else None


async def repair(redis: Redis, database: Database, seen: HintLook) -> list[Found]:
    """Removes what cannot be, and says how much of it. Raises as `look` does."""
    done: list[Found] = []

    def note(code: str, names: Sequence[str]) -> None:
        if names:
            done.append(Found(code, len(names), tuple(names[:EXAMPLES])))

    removed = [str(member[:60]) for queue, member in seen.malformed if await redis.zrem(queue, member)]
    note("hint-malformed", removed)
    # asked again: a job that was replayed meanwhile has a hint that is worth trying
    jobs = await consistency.hinted(database.link, [job_id for _, job_id in seen.stale])
    stale = [(queue, job_id) for queue, job_id in seen.stale if job_id not in jobs or jobs[job_id].final]
    dropped = []
    for queue, job_id in stale:
        if await redis.zrem(queue, str(job_id)):
            await redis.unlink(f"{PAYLOAD}{job_id}")
            dropped.append(str(job_id))
    note("hint-stale", dropped)
    note("deep-unbounded", [key for key in seen.endless if await redis.pexpire(key, DEEP_MS)])
    note("payload-leftover", [str(one) for one in seen.leftovers if await redis.unlink(f"{PAYLOAD}{one}")])
    return done
