"""The machine that plays one act after the other, on the tables and on the model."""

from dataclasses import replace
from datetime import timedelta
from uuid import UUID

from hypothesis import note
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, precondition, rule

from tests.db import model_acts as acts
from tests.db.model import Model
from tests.db.model_acts import Act
from tests.db.model_choices import CHOICES, JOBS, WORKERS, new_worker
from tests.db.model_play import Play, Walked
from tests.db.model_races import Plan
from tests.db.model_rows import Submission, Taker
from tests.db.model_world import World

_ADVANCES = [0.5, 5.0, 10.0, 15.0, 30.0, 61.0, 3600.0, 25 * 3600.0]
_MIX = [
    *["submit", "submit with keys", "cancel", "replay", "edit", "lease", "rescue", "upkeep", "pause"],
    *["claim", "claim", "end", "end", "replay", "upkeep", "submit with keys"],
]
"""Kinds of acts, as often as they are wanted."""


class Sequential(RuleBasedStateMachine, Play):
    """Acts one by one. Each must answer what the model answers and leave the tables as the model is."""

    def __init__(self, world: World, walked: Walked) -> None:
        RuleBasedStateMachine.__init__(self)
        Play.__init__(self, world, walked)
        self.died = False

    def say(self, line: str) -> None:
        """Into the example that hypothesis prints."""
        note(line)

    @initialize(data=st.data())
    def begin(self, data: st.DataObject) -> None:
        """Two workers and a few jobs, so that everything may happen from the first step on."""
        for worker in WORKERS[:2]:
            self.do(acts.join(worker, "default", ("a", "b")))
        self.do(data.draw(CHOICES["submit"](self.model)))

    @rule(seconds=st.sampled_from(_ADVANCES), beating=st.sampled_from([True, True, False]), reaping=st.booleans())
    def time_passes(self, seconds: float, beating: bool, reaping: bool) -> None:
        """Workers that beat keep their leases; the others fall silent."""
        self.wait(seconds)
        for worker in sorted(self.model.workers) if beating else ():
            self.do(acts.beat(worker))
        if reaping:
            self.do(acts.expire())
        self.ask(min(self.model.workers, default=WORKERS[-1]))

    @rule(data=st.data(), kinds=st.lists(st.sampled_from(_MIX), min_size=1, max_size=4))
    def acts_follow(self, data: st.DataObject, kinds: list[str]) -> None:
        """Anything after anything."""
        for kind in kinds:
            self.do(data.draw(CHOICES[kind](self.model)))

    @rule(
        data=st.data(),
        then=st.sampled_from(["end", "end", "end", "cancel", "rescue", "edit"]),
        rounds=st.integers(1, 3),
    )
    def attempt(self, data: st.DataObject, then: str, rounds: int) -> None:
        """Somebody who is alive claims something that is due, and it ends, perhaps after something has happened to it."""
        for _ in range(rounds):
            self.one_attempt(data, then)

    def one_attempt(self, data: st.DataObject, then: str) -> None:
        """A beat, a claim, and an end."""
        self.somebody_claims(data)
        if then != "end":
            self.do(data.draw(CHOICES[then](self.model)))
        self.do(data.draw(CHOICES["end"](self.model)))

    def somebody_claims(self, data: st.DataObject) -> None:
        """Somebody is alive, something is due, and so something is won, mostly."""
        living = sorted(worker.id for worker in self.model.workers.values() if worker.dead_at is None)
        if living:
            self.do(acts.beat(data.draw(st.sampled_from(living))))
        else:
            self.do(acts.join(new_worker(self.model), "default", ("a", "b")))
        if not self.due():
            self.do(data.draw(CHOICES["submit"](self.model)))
        self.do(data.draw(CHOICES["claim"](self.model)))

    def due(self) -> bool:
        """Whether there is anything to win."""
        living = [worker for worker in self.model.workers.values() if self.model.alive(worker.id)]
        jobs = self.model.jobs.values()
        return any(self.model.claimable(job, worker.pool, worker.tasks) for worker in living for job in jobs)

    @precondition(lambda self: not self.died)
    @rule(data=st.data(), times=st.sampled_from([1, 2, 8]), asked=st.sampled_from([False, False, False, True]))
    def die_around(self, data: st.DataObject, times: int, asked: bool) -> None:
        """A job is claimed again and again, and each time its worker dies around it."""
        self.died = True
        max_crashes = data.draw(st.sampled_from([2, 3, 1]))
        free = [job_id for job_id in JOBS if job_id not in self.model.jobs]
        if not free:
            return
        job_id = free[0]
        self.do(acts.submit([Submission(job_id, max_crashes=max_crashes)]))
        for n in range(times):
            if self.model.jobs[job_id].finished_at is not None:
                break
            worker = new_worker(self.model)
            self.do(acts.join(worker, "default", ("a",)))
            self.do(acts.claim_by_id(Taker(worker, "default", ("a",)), [job_id]))
            if asked and n == times - 1:
                self.do(acts.cancel("default", [job_id]))
            self.do(acts.leave(worker))
            self.do(acts.rescue({}))
            self.wait(1.0)
            self.do(acts.prune_workers(timedelta(0)))


_RACED = ["claim", "claim", "end", "end", "end", "cancel", "replay", "edit", "lease", "rescue", "rescue", "upkeep"]
_RARELY_RACED = ["submit", "submit with keys", "pause"]


class Interleaved(Sequential):
    """Acts one by one, and now and then two at once; then the state is what one of their two orders makes it."""

    @rule(data=st.data(), times=st.integers(1, 3))
    def races(self, data: st.DataObject, times: int) -> None:
        """Races, with something to race for."""
        for _ in range(times):
            self.somebody_claims(data)
            self.race(data)
            self.race(data)

    def race(self, data: st.DataObject) -> None:
        """Two acts that know the same state, mostly only a job or two of it and who runs them."""
        known = self.model
        where = sorted(known.running if data.draw(st.booleans()) else known.ready) or sorted(known.jobs)
        if where and data.draw(st.sampled_from([True, True, True, False])):
            few: list[UUID] = data.draw(st.lists(st.sampled_from(where), min_size=1, max_size=2, unique=True))
            jobs = {job_id: known.jobs[job_id] for job_id in few}
            holders = {job.worker_id for job in jobs.values()}
            at_work = {name: row for name, row in known.workers.items() if name in holders or known.alive(name)}
            known = replace(known, jobs=jobs, workers=at_work)
        first, second = (self.raced(data, known) for _ in range(2))
        plan = Plan(
            after=data.draw(st.integers(1, 3)),
            held_back=bool(second.statement) and data.draw(st.booleans()),
            early=data.draw(st.booleans()),
            kept=data.draw(st.integers(0, 4)) < 4,
        )
        self.do_both(first, second, plan)

    def raced(self, data: st.DataObject, known: Model) -> Act:
        """An act that may meet another one. (Keys are looked at one by one, and locked ones left for later: no race.)"""
        kind = data.draw(st.sampled_from(_RACED * 2 + _RARELY_RACED))
        return data.draw(CHOICES[kind](known).filter(lambda act: act.kind != "prune_keys"))
