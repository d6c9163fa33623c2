"""Any sequence of statements does to the tables what the model says, and breaks no rule.

One machine plays one act after the other. After each the answer must be the model's, the tables must hold what the model
holds, and the step must keep the rules of `model_rules`. A second machine lets two acts meet over two connections; what
comes of it must be what one of their two orders makes it. Beside what it draws, the acts about one job are gone through
pair by pair. At the end stands the proof that all this notices what is missing.

Without more it is always the same that is played. `PYTEST_MODEL_EXAMPLES=20` draws twenty times as many sequences, new
ones each time, and goes through everything.
"""

import os
from collections import Counter
from collections.abc import Iterator

import pytest
from hypothesis import HealthCheck, Phase, settings
from hypothesis.stateful import run_state_machine_as_test

from db.errors import DatabaseError
from db.lifecycle import TRANSITIONS
from tests.db.model_machine import Interleaved, Sequential
from tests.db.model_pairs import PLANS, STATES, pairs
from tests.db.model_play import Walked
from tests.db.model_races import gated
from tests.db.model_world import World, a_world
from tests.db.texts import Texts
from tests.fixtures.servers import Databases

TIMES = int(os.environ.get("PYTEST_MODEL_EXAMPLES", "1"))
EXAMPLES = 45
RACES = 10
STEPS = 20


@pytest.fixture(scope="module")
def world(databases: Databases, template_database: str) -> Iterator[World]:
    """One database for all of it, and one loop."""
    with a_world(databases, template_database) as opened:
        yield opened


EDGES = {name for edge in TRANSITIONS for name in edge.statements}
_ALWAYS = {("running", "the second has its snapshot"), ("running", "between two statements")}
"""What is gone through each time; the rest is long, and drawn by the second machine."""
played_long = pytest.mark.skipif(TIMES == 1, reason="takes long; played with PYTEST_MODEL_EXAMPLES above 1")


def profile(examples: int, steps: int) -> settings:
    """As many examples as asked for: the same ones each time, unless more than usual are wanted."""
    return settings(
        max_examples=examples * TIMES,
        stateful_step_count=steps,
        derandomize=TIMES == 1,
        database=None,
        deadline=None,
        suppress_health_check=list(HealthCheck),
        print_blob=TIMES > 1,
        phases=[Phase.generate, Phase.shrink],
        report_multiple_bugs=False,
    )


def play(machine: type[Sequential], world: World, how: settings) -> Walked:
    """Plays a machine over this database; what it has walked."""
    walked: Walked = Counter()

    class Bound(machine):  # type: ignore[valid-type, misc]
        def __init__(self) -> None:
            super().__init__(world, walked)

    run_state_machine_as_test(Bound, settings=how)
    return walked


@pytest.mark.timeout(600 * TIMES)
def test_any_sequence_of_statements_does_what_the_model_says(world: World) -> None:
    walked = play(Sequential, world, profile(EXAMPLES, STEPS))
    assert {kind.split()[0] for kind, _ in walked} >= EDGES


@pytest.mark.timeout(600 * TIMES)
def test_of_any_two_at_once_the_end_is_one_of_their_two_orders(world: World, texts: Texts) -> None:
    gated(texts)
    walked = play(Interleaved, world, profile(RACES, STEPS))
    assert sum(times for (kind, _), times in walked.items() if kind == "race") > RACES


@pytest.mark.timeout(600)
@pytest.mark.parametrize(
    ("state", "plan"),
    [
        pytest.param(state, plan, marks=() if (state, plan) in _ALWAYS else played_long)
        for state in STATES
        for plan in PLANS
    ],
)
def test_of_every_two_acts_about_one_job_the_end_is_one_of_their_two_orders(
    world: World, texts: Texts, state: str, plan: str
) -> None:
    gated(texts)
    assert pairs(world, state, plan) > 0


# -- what is missing is found ----------------------------------------------------------------------------------------

_SOON_MISSED = [
    ("succeed", "j.attempt = i.attempt AND ", ""),
    ("give_back", "AND j.status || '' = 'RUNNING'", ""),
    ("claim_by_id", "r.run_at <= now()\n    AND", "true\n    AND"),
    ("rescue", " AND w.beat_at = s.beat", ""),
]
_MISSED_LATER = [
    ("fail", "j.worker_id = CAST(:worker AS uuid) AND", "CAST(:worker AS uuid) IS NOT NULL AND"),
    ("snooze", "j.cancel_requested_at IS NOT NULL AS cancelled", "false AS cancelled"),
    ("rescue", "AND 5 > (", "AND 6 > ("),
    ("replay", "failures = 0,", ""),
    ("submit_keyed", "JOIN won w ON w.id = g.id", "LEFT JOIN won w ON w.id = g.id"),
]
_ENOUGH = 300
"""Examples within which each of them is missed."""


@pytest.mark.timeout(600)
@pytest.mark.parametrize(
    ("statement", "condition", "instead"),
    [*_SOON_MISSED, *(pytest.param(*later, marks=played_long) for later in _MISSED_LATER)],
)
def test_without_a_condition_some_sequence_goes_wrong(
    world: World, texts: Texts, statement: str, condition: str, instead: str
) -> None:
    texts.replace(statement, condition, instead)
    how = settings(profile(1, STEPS), max_examples=_ENOUGH, derandomize=True, phases=[Phase.generate])
    with pytest.raises((AssertionError, DatabaseError)):
        play(Sequential, world, how)


_FINISH = "running", "FOR NO KEY UPDATE OF j SKIP LOCKED"
_CLAIM = "waiting", "FOR NO KEY UPDATE OF r, j SKIP LOCKED"
_LOCKS = {
    "claim_by_id": _CLAIM,
    "claim_by_head": _CLAIM,
    **dict.fromkeys(["succeed", "fail", "crash", "snooze", "give_back", "cancel_running", "rescue"], _FINISH),
    "expire": ("late", "FOR NO KEY UPDATE OF j, r SKIP LOCKED"),
    "prune_jobs": ("over", "FOR UPDATE OF j SKIP LOCKED"),
}
"""Statement → where a job stands for it, and its lock."""


@pytest.mark.timeout(600)
@pytest.mark.parametrize("statement", sorted(_LOCKS))
def test_without_its_lock_a_statement_meets_another_and_goes_wrong(world: World, texts: Texts, statement: str) -> None:
    state, lock = _LOCKS[statement]
    gated(texts)
    texts.replace(statement, lock, "")
    with pytest.raises((AssertionError, DatabaseError)):
        for plan in PLANS:
            pairs(world, state, plan, statement)


@pytest.mark.timeout(600)
def test_without_the_lock_before_a_clients_edge_it_meets_another_and_goes_wrong(world: World, texts: Texts) -> None:
    gated(texts)
    texts.replace("lock_jobs", "FOR NO KEY UPDATE", "")
    with pytest.raises((AssertionError, DatabaseError)):
        pairs(world, "running", "both are open", "fail")
