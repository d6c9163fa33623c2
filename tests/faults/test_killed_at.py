"""Workers that die or freeze exactly at an edge of the protocol: before and after each statement, each pop, each end."""

import signal
from uuid import uuid4

import pytest
import redis.asyncio

from db.lifecycle import JobStatus
from tests.faults.fired import Failpoints
from tests.faults.ledger import Ledger
from tests.faults.processes import SILENCE, Fleet, Worker
from tests.fixtures.jobs import JobBook
from tests.fixtures.waiting import eventually
from workers.hints import Hint, Hints

pytestmark = pytest.mark.faults


def started(fleet: Fleet, failpoints: Failpoints, names: list[str], action: str, **settings: object) -> list[Worker]:
    """A worker with one slot for each failpoint."""
    return [
        fleet.start(slots=1, **{**settings, **failpoints.settings(f"{name}:{action}")})  # type: ignore[arg-type]
        for name in names
    ]


async def test_a_worker_killed_at_any_edge_from_claim_to_confirmation_loses_nothing_and_doubles_no_outcome(
    fleet: Fleet, book: JobBook, ledger: Ledger, failpoints: Failpoints
) -> None:
    failpoints.now()
    ids = await book.submit_many("fault.quick", [{"n": n} for n in range(10)])
    unheard = ["claim.by_head.committed", "attempt.starting"]  # RUNNING, and no code of theirs has run
    unwritten = ["attempt.ended", "flush.sending"]
    written = ["flush.committed", "flush.confirmed"]
    names = ["claim.by_head.sending", *unheard, *unwritten, *written]
    victims = started(fleet, failpoints, names, "kill")
    for victim in victims:
        assert await victim.ended() == -signal.SIGKILL
    assert failpoints.names() == sorted(names)
    failpoints.tell(ledger)
    ended = {record.id: record for record in await book.get_all(ids) if record.status == JobStatus.SUCCESS}
    assert len(ended) == len(written)
    await fleet.ready()
    records = await book.succeeds(*ids)
    assert sorted(record.crashes for record in records) == [0] * 6 + [1] * 4
    assert all(record.attempt == 1 + record.crashes for record in records)
    assert all(record.failures == 0 for record in records)
    assert {record.id: record for record in records if record.id in ended} == ended
    assert len(ledger.starts()) == len(ids) + len(unwritten)
    ledger.check(silence=SILENCE)


async def test_a_worker_killed_between_pop_and_claim_loses_no_hinted_job(
    fleet: Fleet, book: JobBook, hints: Hints, ledger: Ledger, failpoints: Failpoints
) -> None:
    names = ["take.popping", "take.popped", "claim.by_id.sending", "claim.by_id.committed"]
    victims = started(fleet, failpoints, names, "kill", head_seconds=3600)
    async with redis.asyncio.Redis.from_url(fleet.environment["REDIS_URL"]) as client:
        for victim in victims:
            await victim.ready()
        await eventually(lambda: _asleep(client, len(victims)))  # by now none of them looks at PostgreSQL
        failpoints.now()
        ids = await book.submit_many("fault.quick", [{}] * 8)
        await hints.publish([Hint(job_id, "default", "default", 0.0) for job_id in ids])
    for victim in victims:
        assert await victim.ended() == -signal.SIGKILL
    assert failpoints.names() == sorted(names)
    failpoints.tell(ledger)
    await fleet.ready()
    records = await book.succeeds(*ids)
    assert sorted(record.crashes for record in records) == [0] * 7 + [1]
    assert len(ledger.starts()) == len(ids)
    ledger.check(silence=SILENCE)


async def _asleep(client: redis.asyncio.Redis, n: int) -> bool:
    return [row["cmd"] for row in await client.client_list()].count("blpop") >= n


async def test_a_worker_frozen_at_any_edge_past_its_lease_changes_nothing_when_it_thaws(
    fleet: Fleet, book: JobBook, ledger: Ledger, failpoints: Failpoints
) -> None:
    failpoints.now()
    names = ["claim.by_head.committed", "attempt.ended", "flush.sending", "flush.committed"]
    ids = await book.submit_many("fault.quick", [{"n": n} for n in range(8)])
    # Frozen between the look at its lease and the first line of the code, it runs that code when it thaws, to no effect.
    # No lease can prevent that, so this job does not write to the ledger.
    late = await book.submit("fault.echo", {"a": 1}, priority="low")
    zombies = started(fleet, failpoints, names, "stop", priorities="default")
    zombies += started(fleet, failpoints, ["attempt.starting"], "stop", priorities="low")
    await failpoints.until(*names, "attempt.starting")
    await fleet.ready()
    records = await book.succeeds(*ids, late)
    assert sorted(record.crashes for record in records) == [0] * 5 + [1] * 4
    failpoints.no_more()
    for zombie in zombies:
        zombie.thaw()
    for zombie in zombies:
        await zombie.ready(times=2)
        assert zombie.ids[0] != zombie.ids[1]
    assert await book.get_all([*ids, late]) == records
    assert {zombie.ids[0] for zombie in zombies} <= {row["id"] for row in await book.workers(alive=False)}
    await book.succeeds(await book.submit("fault.quick"))
    ledger.check(silence=SILENCE)


async def test_a_process_killed_while_it_says_goodbye_has_said_all_of_it_or_is_rescued(
    fleet: Fleet, book: JobBook, ledger: Ledger, failpoints: Failpoints
) -> None:
    failpoints.now()
    victims = started(fleet, failpoints, ["ending.writing", "ending.written"], "kill", drain_seconds=0.1)
    ids = await book.submit_many("fault.thread", [{"seconds": 60}] * 2)
    await eventually(lambda: len(ledger.starts()) == 2, 30)
    for victim in victims:
        victim.send(signal.SIGTERM)
    for victim in victims:
        assert await victim.ended() == -signal.SIGKILL
    unwritten, written = (victim.ids[0] for victim in victims)
    await fleet.ready(slots=0)
    records = {record.worker_id: record for record in await book.get_all(ids)}
    assert (records[written].status, records[written].crashes) == (JobStatus.PENDING, 0)
    rescued = await book.becomes(records[unwritten].id, JobStatus.RETRYING)
    assert (rescued.crashes, rescued.failures) == (1, 0)


async def test_an_error_at_any_edge_ends_no_worker_and_loses_and_doubles_nothing(
    fleet: Fleet, book: JobBook, hints: Hints, ledger: Ledger, failpoints: Failpoints
) -> None:
    # what PostgreSQL or Redis may answer at each of them, and an unknown outcome with it
    quiet = ["take.popping", "publisher.sending", "claim.judging", "attempt.starting", "worker.joining"]
    control = ["beat.sending", "beat.answered", "roll_call.sending", "roll_call.answered", "silence.looking"]
    leading = ["leader.electing", "leader.elected", "reaper.rescuing", "reaper.expiring", "pruner.pruning"]
    unknown = ["take.popped", "claim.by_id.sending", "claim.by_id.committed", "claim.by_head.sending"]
    unknown += ["claim.by_head.committed", "flush.sending", "flush.committed", "flush.confirmed", "publisher.sent"]
    names = [*quiet, *control, *leading, *unknown]
    rules = ",".join(f"{name}:raise*1" for name in names)
    failpoints.now()
    (worker,) = await fleet.ready(slots=10, **failpoints.settings(rules))
    ids = [await book.submit("fault.quick")]
    while not set(failpoints.names()) >= set(names):
        more = await book.submit_many("fault.flaky", [{"failures": 1}] * 5)
        await hints.publish([Hint(job_id, "default", "default", 0.0) for job_id in [*more, uuid4()]])
        await book.succeeds(*more, timeout=60)
        ids += more
        assert len(ids) < 500, f"not reached: {set(names) - set(failpoints.names())}"
    records = await book.succeeds(*ids)
    assert {(record.crashes, record.failures) for record in records} == {(0, 0), (0, 1)}
    assert worker.alive
    assert len(worker.ids) == 1
    ledger.check(silence=SILENCE)


async def test_a_leader_that_hangs_in_a_rescue_is_replaced_and_both_rescues_together_charge_one_crash(
    fleet: Fleet, book: JobBook, ledger: Ledger, failpoints: Failpoints
) -> None:
    (first,) = await fleet.ready(slots=0, **failpoints.settings("reaper.rescuing:wait"))
    await eventually(book.leader)
    (victim,) = await fleet.ready(slots=1)
    job_id = await book.submit("fault.sleep", {"seconds": 1.0})
    await eventually(lambda: ledger.starts(job_id))
    failpoints.now()
    await failpoints.until("reaper.rescuing")
    victim.kill()
    (second,) = await fleet.ready()
    await eventually(lambda: _leads(book, second), 20)
    (record,) = await book.succeeds(job_id)
    failpoints.go_on.touch()
    await eventually(lambda: "leader.superseded" in first.log, 20)
    assert await book.get(job_id) == record
    assert (record.crashes, record.attempt) == (1, 2)
    assert await book.events(job_id) == ["rescued"]
    assert first.alive
    assert len(first.ids) == 1  # the loop hung, its lease did not
    ledger.check(silence=SILENCE)


async def _leads(book: JobBook, worker: Worker) -> bool:
    return await book.leader() in worker.ids
