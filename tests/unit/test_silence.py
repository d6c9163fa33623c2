"""Silence is observed: what may declare a worker dead, and what must not."""

from datetime import UTC, datetime, timedelta
from uuid import UUID, uuid4

from hypothesis import given
from hypothesis import strategies as st

from db.workers import Beat
from workers.loops.silence import Silence

LEASE, HEARTBEAT, POLL = 30.0, 5.0, 5.0
START = datetime(2026, 1, 1, tzinfo=UTC)


class World:
    """Workers that beat, a database with a clock, and one observer with a monotonic clock."""

    def __init__(self, workers: int = 3) -> None:
        self.monotonic = 1_000.0
        self.database = START
        self.beats: dict[UUID, datetime] = {uuid4(): START for _ in range(workers)}
        self.dead: set[UUID] = set()
        self.observer = self.observe()

    def observe(self) -> Silence:
        return Silence(lease=LEASE, heartbeat=HEARTBEAT, clock=lambda: self.monotonic)

    @property
    def first(self) -> UUID:
        return next(iter(self.beats))

    def pass_time(self, seconds: float) -> None:
        """Nobody does anything meanwhile."""
        self.monotonic += seconds
        self.database += timedelta(seconds=seconds)

    def beat(self) -> None:
        for worker in self.beats:
            if worker not in self.dead:
                self.beats[worker] = self.database

    def look(self, observer: Silence | None = None) -> set[UUID]:
        seen = [Beat(worker, at, (self.database - at).total_seconds()) for worker, at in self.beats.items()]
        return {beat.worker for beat in (observer or self.observer).look(seen)}

    def run(self, seconds: float) -> set[UUID]:
        """Ordinary life: everybody beats and the observer looks; who was called silent."""
        found: set[UUID] = set()
        for _ in range(int(seconds / POLL)):
            self.pass_time(POLL)
            self.beat()
            found |= self.look()
        return found


def test_nobody_who_beats_is_ever_silent() -> None:
    world = World()
    assert world.run(1_000) == set()


def test_a_dead_worker_is_found_within_a_lease_and_a_poll() -> None:
    world = World()
    world.run(60)
    world.dead.add(world.first)
    died = world.monotonic
    while not (found := world.run(POLL)):
        assert world.monotonic - died < 2 * LEASE
    assert found == {world.first}
    assert LEASE < world.monotonic - died <= LEASE + POLL


def test_a_new_observer_needs_to_see_the_silence_itself_but_not_for_a_whole_lease() -> None:
    world = World()
    world.dead.add(world.first)
    world.run(300)
    fresh = world.observe()
    assert world.look(fresh) == set(), "it has seen nothing yet"
    waited = 0.0
    while not world.look(fresh):
        world.pass_time(POLL)
        world.beat()
        waited += POLL
    assert waited == 3 * HEARTBEAT


def test_a_stalled_database_kills_nobody() -> None:
    # no look and no beat is answered meanwhile, and the first look after it comes before the first beat
    world = World()
    world.run(60)
    world.pass_time(10 * LEASE)
    assert world.look() == set()
    assert world.run(300) == set()


def test_a_suspended_machine_kills_nobody_though_its_monotonic_clock_stood_still() -> None:
    world = World()
    world.run(60)
    world.database += timedelta(hours=9)
    assert world.look() == set()
    for _ in range(2):  # beats come back only after a while
        world.pass_time(POLL)
        assert world.look() == set()
    assert world.run(300) == set()


def test_a_database_clock_that_is_stepped_forward_kills_nobody() -> None:
    world = World()
    world.run(60)
    world.database += timedelta(minutes=10)
    assert world.look() == set()
    assert world.run(300) == set()


def test_a_database_clock_that_is_stepped_back_neither_kills_nor_hides_the_dead() -> None:
    world = World()
    world.run(60)
    world.dead.add(world.first)
    world.database -= timedelta(minutes=10)
    died = world.monotonic
    while not (found := world.run(POLL)):
        assert world.monotonic - died < 2 * LEASE
    assert found == {world.first}
    assert world.monotonic - died <= LEASE + 2 * POLL


def test_an_outage_of_the_observer_alone_starts_all_observations_anew() -> None:
    world = World()
    world.run(60)
    world.dead.add(world.first)
    world.run(20)
    for _ in range(10):  # the others go on; this process gets no answers
        world.pass_time(POLL)
        world.beat()
    assert world.look() == set()
    world.pass_time(POLL)
    world.beat()
    assert world.look() == set()
    assert world.run(30) == {world.first}


def test_a_worker_that_beats_at_the_last_moment_is_left_alone() -> None:
    world = World(1)
    world.run(60)
    for _ in range(5):  # 25 s without a beat
        world.pass_time(POLL)
        assert world.look() == set()
    world.beat()
    assert world.run(60) == set()


def test_a_worker_that_left_is_forgotten() -> None:
    world = World()
    gone = world.first
    world.dead.add(gone)
    world.run(20)
    last = world.beats.pop(gone)
    world.run(10)
    world.beats[gone] = last
    world.pass_time(POLL)
    assert world.look() == set(), "its silence counts from when it was seen again"


@given(st.lists(st.tuples(st.sampled_from(["run", "stall", "suspend", "step"]), st.integers(1, 4_000)), max_size=15))
def test_whatever_happens_to_clocks_and_machines_nobody_who_can_beat_is_called_silent(
    events: list[tuple[str, int]],
) -> None:
    world = World()
    for event, seconds in events:
        if event == "stall":
            world.pass_time(seconds)
        elif event == "suspend":
            world.database += timedelta(seconds=seconds)
        elif event == "step":
            world.database -= timedelta(seconds=seconds)
        else:
            assert world.run(min(seconds, 100)) == set()
        assert world.look() == set()
