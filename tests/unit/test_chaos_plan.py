"""What follows from a seed: the schedule, the jobs, the failpoints."""

from itertools import pairwise
from pathlib import Path

import jsonschema_rs
import pytest

from db import failpoints
from service.chaos import arming, plan, tasks, workload
from service.chaos.options import Options, OptionsRefusedError, faults_of
from service.chaos.plan import FAILPOINTS, FAULTS
from service.chaos.workload import Act, Submit
from tests.architecture.tree import ROOT

SEEDS = range(20)
ALL = tuple(FAULTS)


def test_a_seed_repeats_its_schedule_and_another_has_another() -> None:
    assert plan.schedule(7, 180, ALL) == plan.schedule(7, 180, ALL)
    assert plan.schedule(7, 180, ALL) != plan.schedule(8, 180, ALL)


def test_a_longer_run_begins_as_the_shorter_one_does() -> None:
    short = [fault for fault in plan.schedule(7, 60, ALL) if fault.at < 40]
    assert short == [fault for fault in plan.schedule(7, 600, ALL) if fault.at < 40]


@pytest.mark.parametrize("seed", SEEDS)
def test_two_minutes_see_every_kind_of_fault(seed: int) -> None:
    faults = plan.schedule(seed, 120, ALL)
    assert {fault.name for fault in faults} == set(FAULTS) - {FAILPOINTS}


@pytest.mark.parametrize("seed", SEEDS)
def test_faults_are_in_order_over_in_time_and_as_long_as_their_kind(seed: int) -> None:
    faults = plan.schedule(seed, 90, ALL)
    assert [fault.at for fault in faults] == sorted(fault.at for fault in faults)
    for fault in faults:
        kind = FAULTS[fault.name]
        assert fault.at + fault.seconds <= 90
        assert kind.shortest <= fault.seconds <= kind.longest
        assert (fault.server in ("postgres", "valkey")) == kind.link
        assert fault.name in str(fault)


def test_some_faults_overlap() -> None:
    faults = plan.schedule(1, 600, ALL)
    assert any(first.at + first.seconds > second.at for first, second in pairwise(faults))


def test_only_the_kinds_asked_for_are_planned() -> None:
    faults = plan.schedule(1, 60, ("flush", FAILPOINTS))
    assert {fault.name for fault in faults} == {"flush"}
    assert plan.schedule(1, 60, (FAILPOINTS,)) == plan.schedule(1, 60, ()) == []


def test_a_seed_repeats_its_jobs_and_acts() -> None:
    assert workload.steps(7, 30, 20) == workload.steps(7, 30, 20)
    assert workload.steps(7, 30, 20) != workload.steps(8, 30, 20)


def test_the_rate_is_that_of_jobs() -> None:
    steps = workload.steps(3, 600, 20)
    jobs = sum(len(step.does.bodies) for step in steps if isinstance(step.does, Submit))
    assert jobs == pytest.approx(12_000, rel=0.1)
    assert all(0 <= step.at < 600 for step in steps)


def test_every_job_has_a_token_of_its_own_and_every_key_is_used_once_by_a_tenant() -> None:
    submits = [step.does for step in workload.steps(5, 300, 20) if isinstance(step.does, Submit)]
    tokens = [token for submit in submits for token in submit.tokens]
    keys = [(one.tenant, key) for one in submits for key in (one.key, *(b.get("idempotency_key") for b in one.bodies))]
    named = [(tenant, key) for tenant, key in keys if key is not None]
    assert len(set(tokens)) == len(tokens)
    assert len(set(named)) == len(named) > 100
    assert len({key for _, key in named}) < len(named) - 10, "tenants share none"
    assert all(submit.key is not None for submit in submits if submit.race)


def test_every_job_is_one_that_its_task_takes_and_every_task_is_submitted() -> None:
    known = {task.name: task for task in (getattr(tasks, name) for name in dir(tasks)) if hasattr(task, "schema_hash")}
    seen = set()
    for step in workload.steps(5, 300, 20):
        for body in step.does.bodies if isinstance(step.does, Submit) else ():
            seen.add(body["task"])
            assert jsonschema_rs.validator_for(known[body["task"]].payload_schema).is_valid(body["payload"]), body
            assert body.get("expires_in", 99) > body.get("delay", 0)
    assert seen == set(known) == set(workload.TASKS)


def test_every_act_comes_up() -> None:
    acts = [step.does for step in workload.steps(5, 300, 20) if isinstance(step.does, Act)]
    assert {act.name for act in acts} == set(workload._ACTS)
    assert {act.name for act in acts if act.foreign} == set(workload._ACTS) - workload._NOT_ABOUT_ONE_JOB
    assert {act.tenant for act in acts} == set(workload.TENANTS)


@pytest.mark.parametrize("api", [True, False])
def test_the_failpoints_of_a_process_are_rules_that_it_accepts(api: bool) -> None:
    reached = set()
    for generation in range(60):
        rules = failpoints.read(arming.rules(1, "somebody", generation, api=api), "test")
        reached |= set(rules)
        assert {str(rule.action) for rule in rules.values()} <= {"kill", "raise", "sleep"}
        assert all(rule.probability < 0.1 for rule in rules.values())
    meant = {name for name in failpoints.NAMES if name.startswith(("api.", "publisher.")) or not api}
    assert reached == {name for name in meant if api or not name.startswith("api.")}
    assert arming.rules(1, "a", 0, api=api) == arming.rules(1, "a", 0, api=api)


def test_options_that_cannot_be_are_refused_in_one_line(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    wrong = [
        Options(1, minutes=0),
        Options(1, minutes=61),
        Options(1, workers=1),
        Options(1, rate=0),
        Options(1, folder=tmp_path),
        Options(1, folder=tmp_path / "file"),
    ]
    for options in wrong:
        with pytest.raises(OptionsRefusedError, match=r"^--\w+ [^\n]+$"):
            options.check()
    assert Options(1, folder=tmp_path / "new").check().seconds == 180


def test_faults_are_named_and_an_unknown_one_names_those_there_are() -> None:
    assert faults_of("kill-worker, flush") == ("kill-worker", "flush")
    assert faults_of("none") == ()
    for text in ("flush,flood", "", "none,flush"):
        with pytest.raises(OptionsRefusedError, match="there are kill-worker, "):
            faults_of(text)


def test_the_page_names_every_fault_and_every_rule() -> None:
    from service.chaos.checks import RULES

    page = (ROOT / "docs/chaos.md").read_text(encoding="utf-8")
    assert [name for name in FAULTS if f"| `{name}` |" not in page] == []
    assert [rule for rule in RULES if f"| {rule} |" not in page] == []
