"""The life cycle as a table: no way leads out of an end but a replay."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from db.lifecycle import CLAIMABLE, FINAL, TRANSITIONS, Edge, JobStatus, runs_isolated
from tests.fixtures.edges import can_move

STEPS = [(edge, source, target) for edge in TRANSITIONS for source in edge.sources for target in edge.targets]


@given(st.sampled_from(sorted(JobStatus)), st.lists(st.sampled_from(STEPS), max_size=40))
def test_no_path_leaves_a_final_status_but_by_replay(
    status: JobStatus, steps: list[tuple[Edge, JobStatus, JobStatus]]
) -> None:
    for edge, source, target in steps:
        if source is not status:
            continue
        if status in FINAL:
            assert (edge.name, target) == ("replay", JobStatus.PENDING)
        status = target


def test_every_status_can_be_reached_and_every_open_one_can_end() -> None:
    reached = {JobStatus.PENDING, JobStatus.WAITING}  # what a submit makes
    open_ends = {status for status in JobStatus if status not in FINAL}
    for _ in JobStatus:
        reached |= {target for edge in TRANSITIONS if edge.sources & reached for target in edge.targets}
        open_ends -= {
            status for status in open_ends if any(can_move(status, end) for end in set(JobStatus) - open_ends)
        }
    assert reached == set(JobStatus)
    assert open_ends == set()


def test_only_a_claim_starts_a_job_and_only_from_the_queue() -> None:
    (claim,) = [edge for edge in TRANSITIONS if JobStatus.RUNNING in edge.targets]
    assert claim.name == "claim"
    assert claim.sources == CLAIMABLE


def test_a_success_is_for_good() -> None:
    assert not any(JobStatus.SUCCESS in edge.sources for edge in TRANSITIONS)


@pytest.mark.parametrize("edge", TRANSITIONS, ids=lambda edge: edge.name)
def test_no_edge_is_a_loop_within_a_running_job(edge: Edge) -> None:
    assert not (edge.sources & edge.targets & {JobStatus.RUNNING})


def test_names_are_said_once() -> None:
    names = [edge.name for edge in TRANSITIONS]
    statements = [name for edge in TRANSITIONS for name in edge.statements]
    assert len(set(names)) == len(names)
    assert len(set(statements)) == len(statements)


@pytest.mark.parametrize(
    ("crashes", "max_crashes", "isolated"),
    [(0, 1, False), (1, 1, False), (0, 2, False), (1, 2, True), (1, 3, False), (2, 3, True), (3, 3, True)],
)
def test_a_job_runs_alone_when_its_next_crash_would_be_its_last(crashes: int, max_crashes: int, isolated: bool) -> None:
    assert runs_isolated(crashes, max_crashes) is isolated
