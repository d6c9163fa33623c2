"""Everything at once: many connections, overlapping batches, all edges. Nothing may deadlock, and no rule may break.

Who may run which statement is what it is in production: workers end what they claimed, the reaper takes what the dead
left, clients cancel, replay and edit whatever they like. A trigger writes down every change of a job's row, so that the
rules are judged on what was committed and not on what the test believes.
"""

import asyncio
import random
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import UUID

import pytest
from uuid_utils.compat import uuid7

from db import attempts, jobs, retention, workers
from db.errors import Locked
from db.jobs import Edit, NewJob
from db.lifecycle import CLAIMABLE, FINAL, JobStatus, Priority
from tests.db.pruning import prune_jobs
from tests.db.scene import LEASE, POOL, Scene
from tests.fixtures.edges import can_move

TASKS = ["a", "b"]
CONNECTIONS = 8
ROUNDS = 150

_AUDIT = """
CREATE TABLE errander.edges_seen (n bigserial, job_id uuid, old_status text, new_status text, old_attempt int, new_attempt int,
    old_failures int, new_failures int, old_crashes int, new_crashes int, replays int, old_worker uuid, new_worker uuid);
CREATE FUNCTION errander.note() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN
    INSERT INTO errander.edges_seen (job_id, old_status, new_status, old_attempt, new_attempt, old_failures, new_failures,
        old_crashes, new_crashes, replays, old_worker, new_worker)
    VALUES (new.id, old.status, new.status, old.attempt, new.attempt, old.failures, new.failures, old.crashes, new.crashes,
        new.replays - old.replays, old.worker_id, new.worker_id);
    RETURN new;
END $$;
CREATE TRIGGER note AFTER UPDATE ON errander.jobs FOR EACH ROW EXECUTE FUNCTION errander.note();
"""


@dataclass
class Traffic:
    """What the actors share: the ids there are, and who runs what."""

    scene: Scene
    random: random.Random
    ids: list[UUID] = field(default_factory=list)
    held: dict[UUID, list[tuple[UUID, int]]] = field(default_factory=dict)
    done: dict[str, int] = field(default_factory=dict)
    turned_down: int = 0

    def some(self, most: int = 12) -> list[UUID]:
        """A few ids in any order, some of them twice."""
        return self.random.choices(self.ids, k=self.random.randint(1, most))

    def taken(self, worker: UUID) -> list[tuple[UUID, int]]:
        """A few of a worker's attempts, which it may end only once."""
        mine = self.held[worker]
        self.random.shuffle(mine)
        count = self.random.randint(0, min(8, len(mine)))
        part, self.held[worker] = mine[:count], mine[count:]
        return part

    # -- what a worker does ------------------------------------------------------------------------------------------

    async def claim(self) -> None:
        worker = self.random.choice(list(self.held))
        if self.random.random() < 0.5:
            won = await self.scene.claim(worker, *self.some(), tasks=TASKS)
        else:
            priority = self.random.choice(list(Priority))
            won = (await self.scene.claim_head(worker, 5, priority=str(priority), tasks=TASKS)).jobs
        self.held[worker] += [(job.id, job.attempt) for job in won]
        self.count("claimed", len(won))

    async def finish(self) -> None:
        worker = self.random.choice(list(self.held))
        mine = self.taken(worker)
        if not mine:
            return
        edge = self.random.choice(["succeed", "fail", "crash", "snooze", "give_back", "cancel_running"])
        more: dict[str, Any] = {"delays": 0.0} if edge in ("fail", "crash", "snooze", "give_back") else {}
        moved = {row.id for row in await self.scene.finish(edge, worker, *mine, **more)}
        # what was locked is tried again; what another attempt holds is dropped, as the verdict says
        left = [(job_id, number) for job_id, number in mine if job_id not in moved]
        found = await attempts.verdict(
            self.scene.link, [job_id for job_id, _ in left], worker=worker, lease=LEASE, pool=POOL, tasks=TASKS
        )
        self.held[worker] += [
            (job_id, number)
            for job_id, number in left
            if job_id in found
            and (found[job_id].status, found[job_id].attempt, found[job_id].worker_id)
            == (JobStatus.RUNNING, number, worker)
        ]
        self.count(edge, len(moved))

    async def report(self) -> None:
        worker = self.random.choice(list(self.held))
        if self.held[worker]:
            await self.scene.finish("progress", worker, *self.held[worker][:10])

    async def beat(self) -> None:
        await workers.beat(self.scene.link, self.random.choice(list(self.held)), running=1, slots=10)

    # -- what the leader does ----------------------------------------------------------------------------------------

    async def rescue(self) -> None:
        beats = await workers.beats(self.scene.link)
        silent = [beat for beat in beats if self.random.random() < 0.1]
        taken = await workers.rescue(self.scene.link, silent, n=20)
        self.count("rescued", len(taken))

    async def expire(self) -> None:
        self.count("expired", len(await workers.expire(self.scene.link, n=20)))

    async def prune(self) -> None:
        pruned = await prune_jobs(self.scene.link, JobStatus.SUCCESS, seconds=0.5, n=10)
        self.count("pruned", pruned)
        await retention.prune_workers(self.scene.link, seconds=0, n=10)

    async def join(self) -> None:
        self.held[await self.scene.worker(tasks=TASKS)] = []

    # -- what a client does ------------------------------------------------------------------------------------------

    async def submit(self) -> None:
        now = datetime.now(UTC)
        new = [
            NewJob(
                uuid7(),
                self.random.choice(TASKS),
                POOL,
                str(self.random.choice(list(Priority))),
                "{}",
                3,
                self.random.choice([1, 3]),
                60.0,
                '{"kind": "fixed", "base": 0, "jitter": 0}',
                expires_at=now + timedelta(seconds=self.random.choice([0.3, 60]))
                if self.random.random() < 0.3
                else None,
            )
            for _ in range(10)
        ]
        await jobs.insert(self.scene.link, "default", new)
        self.ids += [job.id for job in new]

    async def cancel(self) -> None:
        async with self.scene.database.begin() as link:
            change = await jobs.cancel(link, "default", self.some(), "not wanted")
        self.count("cancelled", len(change.moved))

    async def replay(self) -> None:
        async with self.scene.database.begin() as link:
            change = await jobs.replay(link, "default", self.some())
        self.count("replayed", len(change.moved))

    async def run_now(self) -> None:
        async with self.scene.database.begin() as link:
            await jobs.run_now(link, "default", self.random.choice(self.ids))

    async def edit(self) -> None:
        job = self.random.choice(self.ids)
        new = Edit(priority=str(self.random.choice(list(Priority))), tags='["edited"]')
        async with self.scene.database.begin() as link:
            await jobs.lock(link, "default", [job])
            self.count("edited", len(await jobs.edit(link, "default", job, new, ["priority", "tags"])))

    # -- the mix -----------------------------------------------------------------------------------------------------

    def count(self, what: str, number: int) -> None:
        self.done[what] = self.done.get(what, 0) + number

    def actions(self) -> list[tuple[Callable[[], Awaitable[None]], int]]:
        """What may happen next, and how often."""
        return [
            (self.claim, 8),
            (self.finish, 10),
            (self.report, 2),
            (self.beat, 2),
            (self.rescue, 2),
            (self.expire, 1),
            (self.prune, 1),
            (self.join, 1),
            (self.submit, 2),
            (self.cancel, 2),
            (self.replay, 2),
            (self.run_now, 1),
            (self.edit, 2),
        ]

    async def act(self, rounds: int) -> None:
        """One connection's part."""
        choices, weights = zip(*self.actions(), strict=True)
        for _ in range(rounds):
            try:
                await self.random.choices(choices, weights)[0]()
            except Locked as error:
                assert "deadlock" not in str(error)
                self.turned_down += 1


async def traffic_of(scene: Scene, seed: int) -> Traffic:
    await scene.link.executor.execute(_AUDIT)
    traffic = Traffic(scene, random.Random(seed))
    for _ in range(4):
        await traffic.join()
    for _ in range(6):
        await traffic.submit()
    return traffic


async def judge(scene: Scene) -> None:
    """The rules, on every change that was committed."""
    await scene.check()
    for change in await scene.ask("SELECT * FROM errander.edges_seen ORDER BY n"):
        old, new = JobStatus(change["old_status"]), JobStatus(change["new_status"])
        said = dict(change)
        replayed = change["replays"] == 1
        assert old is new or can_move(old, new), said
        assert old not in FINAL or replayed, f"a final job moved without a replay: {said}"
        assert change["replays"] in (0, 1), said
        started = old in CLAIMABLE and new is JobStatus.RUNNING
        assert change["new_attempt"] - change["old_attempt"] == (1 if started else 0), said
        if not replayed:
            spent = change["new_failures"] - change["old_failures"], change["new_crashes"] - change["old_crashes"]
            assert spent in {(0, 0), (1, 0), (0, 1)}, said
            assert spent == (0, 0) or old is JobStatus.RUNNING, said
        assert change["old_worker"] == change["new_worker"] or started, f"only a claim changes who runs it: {said}"


@pytest.mark.parametrize("seed", [1, 2, 3])
async def test_overlapping_traffic_never_deadlocks_and_breaks_no_rule(scene: Scene, seed: int) -> None:
    traffic = await traffic_of(scene, seed)
    await asyncio.gather(*(traffic.act(ROUNDS) for _ in range(CONNECTIONS)))

    await judge(scene)
    (row,) = await scene.ask("SELECT deadlocks FROM pg_stat_database WHERE datname = current_database()")
    assert row["deadlocks"] == 0
    for edge in (
        "claimed",
        "succeed",
        "fail",
        "crash",
        "snooze",
        "give_back",
        "rescued",
        "cancelled",
        "replayed",
        "edited",
    ):
        assert traffic.done.get(edge, 0) > 0, f"no {edge} in {traffic.done}"


async def test_after_any_traffic_a_quiet_fleet_brings_every_job_to_its_end(scene: Scene) -> None:
    traffic = await traffic_of(scene, 4)
    await asyncio.gather(*(traffic.act(ROUNDS // 2) for _ in range(CONNECTIONS)))
    # every process of before dies; one new worker remains
    await scene.ask("UPDATE errander.workers SET dead_at = now() WHERE dead_at IS NULL")
    last = await scene.worker(tasks=TASKS)
    for _ in range(30):
        await workers.rescue(scene.link, [], n=1000)
        await workers.expire(scene.link, n=1000)
        won = [
            (job.id, job.attempt)
            for priority in Priority
            for job in (await scene.claim_head(last, 1000, priority=str(priority), tasks=TASKS)).jobs
        ]
        await scene.finish("succeed", last, *won)
    left = await scene.ask(
        "SELECT status, count(*) FROM errander.jobs WHERE finished_at IS NULL AND run_at <= now() GROUP BY status"
    )
    assert left == []
    await judge(scene)


@pytest.mark.parametrize("edge", ["succeed", "fail", "crash", "snooze", "give_back", "cancel_running", "progress"])
async def test_the_same_batch_in_opposite_orders_never_deadlocks(scene: Scene, edge: str) -> None:
    worker = await scene.worker()
    batch = [(await scene.job("RUNNING", worker=worker, max_attempts=100, max_crashes=100), 1) for _ in range(100)]
    for _ in range(5):
        await asyncio.gather(
            *(scene.finish(edge, worker, *(batch if n % 2 else reversed(batch))) for n in range(CONNECTIONS)),
        )
    (row,) = await scene.ask("SELECT deadlocks FROM pg_stat_database WHERE datname = current_database()")
    assert row["deadlocks"] == 0
    await scene.check()
