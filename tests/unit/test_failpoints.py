"""Failpoints: rules that are read or refused, what each action does, and that every name is where it is said to be."""

import asyncio
import os
import re
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from db import failpoints
from db.errors import Unavailable
from db.failpoints import NAMES, Action, FailpointsRefused, Raises
from db.steady import connection_lost
from tests.fixtures.waiting import eventually, eventually_sync

ROOT = Path(__file__).parents[2]
POINT = "flush.committed"
CALL = re.compile(r"failpoints\.(hit|reach)\(\s*\"([a-z_.]+)\"\s*\)")


@pytest.fixture(autouse=True)
def disarmed() -> Iterator[None]:
    """No rule outlives its test."""
    yield
    failpoints.arm({})


def arm(rules: str, **more: str) -> None:
    """Rules for this process."""
    failpoints.arm({"ERRANDER_ENV": "test", "ERRANDER_FAILPOINTS": rules} | more)


def test_every_name_is_reached_exactly_once_and_no_other() -> None:
    text = {path: path.read_text() for folder in ("db", "workers", "service") for path in (ROOT / folder).rglob("*.py")}
    reached = [name for found in text.values() for _, name in CALL.findall(found)]
    assert sorted(reached) == sorted(NAMES)
    calls = sum(len(re.findall(r"failpoints\.(?:hit|reach)\(", found)) for found in text.values())
    assert calls == len(reached), "a name must stand in the call as it is, so that it can be found"


def test_what_is_reached_where_code_awaits_is_awaited() -> None:
    for folder in ("db", "workers", "service"):
        for path in (ROOT / folder).rglob("*.py"):
            for line in path.read_text().splitlines():
                assert "failpoints.reach(" not in line or "await failpoints.reach(" in line, f"{path}: {line}"


def test_the_page_tells_of_every_name_and_what_can_be_raised_there() -> None:
    rows = re.findall(
        r"^\| `([a-z_.]+\.[a-z_.]+)` \| (.+?) \| (\w*) ?\|$", (ROOT / "docs/failpoints.md").read_text(), re.MULTILINE
    )
    assert {name: raised or Raises.NOTHING for name, _, raised in rows} == dict(NAMES)
    threads = {name for name, where, _ in rows if "*thread*" in where}
    text = "".join(path.read_text() for folder in ("workers", "service") for path in (ROOT / folder).rglob("*.py"))
    assert threads == {name for how, name in CALL.findall(text) if how == "hit"}


def test_without_rules_nothing_is_armed_and_nothing_happens() -> None:
    arm(f"{POINT}:raise")
    failpoints.arm({"ERRANDER_ENV": "test"})
    failpoints.hit(POINT)
    asyncio.run(failpoints.reach(POINT))


@pytest.mark.parametrize("environment", ["", "production", "TEST"])
def test_rules_are_refused_unless_the_environment_is_a_test(environment: str) -> None:
    with pytest.raises(FailpointsRefused) as refused:
        failpoints.arm({"ERRANDER_ENV": environment, "ERRANDER_FAILPOINTS": f"{POINT}:raise"})
    assert len(refused.value.lines) == 1
    assert "ERRANDER_ENV=test" in refused.value.lines[0]
    failpoints.hit(POINT)


@pytest.mark.parametrize(
    ("rule", "why"),
    [
        ("flush.comitted:kill", "there are api.unkeyed.committing"),
        (POINT, "a rule is name:action"),
        (f"{POINT}:", "a rule is name:action"),
        (f"{POINT}:explode", "there are kill, exit"),
        (f"{POINT}:kill(9)", "takes no argument"),
        (f"{POINT}:exit", "exit(0 to 255)"),
        (f"{POINT}:exit(256)", "exit(0 to 255)"),
        (f"{POINT}:exit(x)", "exit(0 to 255)"),
        (f"{POINT}:sleep", "sleep(seconds)"),
        (f"{POINT}:sleep(-1)", "sleep(seconds)"),
        (f"{POINT}:wait()", "wait(path"),
        (f"{POINT}:kill:1.5", "at most 1"),
        (f"{POINT}:kill:often", "a rule is name:action"),
        (f"{POINT}:kill*x", "a rule is name:action"),
        (f"{POINT}:kill,{POINT}:raise", "has a rule already"),
        ("api.answering:raise", "nothing can be raised"),
    ],
)
def test_a_rule_that_cannot_be_is_refused_with_the_reason(rule: str, why: str) -> None:
    with pytest.raises(FailpointsRefused) as refused:
        failpoints.read(rule, "test")
    assert [why in line for line in refused.value.lines] == [True]


def test_everything_that_is_wrong_is_said_at_once() -> None:
    with pytest.raises(FailpointsRefused) as refused:
        failpoints.read("a.b:kill, c.d:kill,flush.sending:kill", "test")
    assert len(refused.value.lines) == 2


def test_rules_are_read_with_argument_probability_and_count() -> None:
    rules = failpoints.read(f"{POINT}:wait(/tmp/a,b):0.25*3, flush.sending:sleep(.5) ,beat.sending:kill*2,", "test")
    first, second, third = rules.values()
    assert (first.action, first.argument, first.probability, first.left) == (Action.WAIT, "/tmp/a,b", 0.25, 3)
    assert (second.action, second.argument, second.probability, second.left) == (Action.SLEEP, ".5", 1, float("inf"))
    assert (third.action, third.left) == (Action.KILL, 2)


@pytest.mark.parametrize("name", [name for name, raised in NAMES.items() if raised is not Raises.NOTHING])
async def test_raise_raises_what_the_code_at_that_edge_must_expect(name: str) -> None:
    arm(f"{name}:raise")
    kinds = {Raises.OUTAGE: Unavailable, Raises.RESET: OSError, Raises.FAULT: RuntimeError}
    with pytest.raises(kinds[NAMES[name]], match=name) as raised:
        failpoints.hit(name)
    if isinstance(raised.value, Unavailable):
        assert connection_lost(raised.value)
    with pytest.raises(kinds[NAMES[name]], match=name):
        await failpoints.reach(name)


def test_a_count_ends_a_rule_and_others_go_on() -> None:
    arm(f"{POINT}:raise*2,flush.sending:raise")
    for _ in range(2):
        with pytest.raises(Unavailable):
            failpoints.hit(POINT)
    failpoints.hit(POINT)
    with pytest.raises(Unavailable):
        failpoints.hit("flush.sending")


def _fired(tmp_path: Path, **more: str) -> list[int]:
    """Which of 200 hits fire at one in four."""
    arm(f"{POINT}:raise:0.25", **more)
    fired = []
    for number in range(200):
        try:
            failpoints.hit(POINT)
        except Unavailable:
            fired.append(number)
    return fired


def test_with_a_seed_the_same_hits_fire_again_and_with_another_others(tmp_path: Path) -> None:
    one = _fired(tmp_path, ERRANDER_FAILPOINTS_SEED="1")
    assert 20 < len(one) < 90
    assert _fired(tmp_path, ERRANDER_FAILPOINTS_SEED="1") == one
    assert _fired(tmp_path, ERRANDER_FAILPOINTS_SEED="2") != one
    assert _fired(tmp_path) != _fired(tmp_path)


def test_nothing_fires_before_the_file_exists_or_after_it_is_gone(tmp_path: Path) -> None:
    now = tmp_path / "now"
    arm(f"{POINT}:raise", ERRANDER_FAILPOINTS_WHEN=str(now))
    failpoints.hit(POINT)
    now.touch()
    with pytest.raises(Unavailable):
        failpoints.hit(POINT)
    now.unlink()
    failpoints.hit(POINT)


def test_what_fires_is_in_the_log_and_what_does_not_is_not(tmp_path: Path) -> None:
    log = tmp_path / "log"
    arm(f"{POINT}:raise*1,flush.sending:sleep(0.001)", ERRANDER_FAILPOINTS_LOG=str(log))
    with pytest.raises(Unavailable):
        failpoints.hit(POINT)
    failpoints.hit(POINT)
    failpoints.hit("flush.sending")
    failpoints.hit("beat.sending")
    lines = [line.split(" ") for line in log.read_text().splitlines()]
    assert [line[2:] for line in lines] == [
        [str(os.getpid()), POINT, "raise", ""],
        [str(os.getpid()), "flush.sending", "sleep", "0.001"],
    ]
    assert float(lines[0][1]) < float(lines[1][1])


async def test_a_pause_where_code_awaits_leaves_the_loop_to_others(tmp_path: Path) -> None:
    go_on = tmp_path / "go on"
    arm(f"{POINT}:wait({go_on}),flush.sending:sleep(60)")
    waiting, sleeping = (
        asyncio.create_task(failpoints.reach(POINT)),
        asyncio.create_task(failpoints.reach("flush.sending")),
    )
    await asyncio.sleep(0)
    go_on.touch()
    await eventually(waiting.done)
    assert not sleeping.done()
    sleeping.cancel()
    await asyncio.gather(sleeping, return_exceptions=True)


# -- what ends or stops a process is tried on one --------------------------------------------------------------------


def _start(rules: str, tmp_path: Path, code: str) -> "subprocess.Popen[str]":
    log = tmp_path / "log"
    return subprocess.Popen(
        [sys.executable, "-c", f"import os\nfrom db import failpoints\nfailpoints.arm(os.environ)\n{code}"],
        cwd=ROOT,
        env={
            **os.environ,
            "ERRANDER_ENV": "test",
            "ERRANDER_FAILPOINTS": rules,
            "ERRANDER_FAILPOINTS_LOG": str(log),
        },
        stdout=subprocess.PIPE,
        text=True,
    )


@pytest.mark.parametrize(("rule", "code"), [("kill", -signal.SIGKILL), ("exit(7)", 7)])
@pytest.mark.parametrize(
    "call", [f"failpoints.hit('{POINT}')", f"import asyncio; asyncio.run(failpoints.reach('{POINT}'))"]
)
def test_an_end_is_at_once_and_in_the_log(rule: str, code: int, call: str, tmp_path: Path) -> None:
    wrapped = f"try:\n    {call}\nfinally:\n    print('not reached')"
    with _start(f"{POINT}:{rule}", tmp_path, wrapped) as process:
        output, _ = process.communicate(timeout=60)
    assert (process.returncode, output) == (code, "")
    assert (tmp_path / "log").read_text().split(" ")[2:4] == [str(process.pid), POINT]


def test_stop_freezes_the_process_until_it_is_let_go_on(tmp_path: Path) -> None:
    with _start(f"{POINT}:stop", tmp_path, f"failpoints.hit('{POINT}')\nprint('went on')") as process:

        def stopped() -> bool:
            pid, status = os.waitpid(process.pid, os.WUNTRACED | os.WNOHANG)
            return pid == process.pid and os.WIFSTOPPED(status)

        eventually_sync(stopped, 60)
        process.send_signal(signal.SIGCONT)
        output, _ = process.communicate(timeout=60)
    assert (process.returncode, output) == (0, "went on\n")


def test_a_wait_of_a_thread_ends_when_the_file_is_there(tmp_path: Path) -> None:
    go_on, log = tmp_path / "go on", tmp_path / "log"
    with _start(f"{POINT}:wait({go_on})", tmp_path, f"failpoints.hit('{POINT}')\nprint('went on')") as process:
        eventually_sync(log.exists, 60)
        assert process.poll() is None
        go_on.touch()
        output, _ = process.communicate(timeout=60)
    assert output == "went on\n"


# -- who refuses them ------------------------------------------------------------------------------------------------

BIN = Path(sys.executable).parent
COMMANDS = [
    ("errander", "api"),
    ("errander", "worker"),
    ("errander", "worker", "--processes", "2"),
    ("errander", "dev"),
    ("errander", "migrate"),
    ("errander", "tasks", "announce"),
    ("arq", "workers.Settings"),
]


@pytest.mark.parametrize("command", COMMANDS, ids=" ".join)
def test_every_command_refuses_to_start_with_failpoints_outside_a_test(
    command: tuple[str, ...], tmp_path: Path
) -> None:
    environment = {
        "DATABASE_URL": "postgresql://nobody@127.0.0.1:1/none",
        "REDIS_URL": "redis://127.0.0.1:1",
        "ERRANDER_AUTH": "off",
        "ERRANDER_FAILPOINTS": f"{POINT}:kill",
        "PYTHONPATH": str(ROOT),
    }
    done = subprocess.run(
        [str(BIN / command[0]), *command[1:]],
        cwd=tmp_path,
        env=os.environ | environment,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert done.returncode == 2
    assert done.stderr.count("\n") == 1
    assert "ERRANDER_ENV=test" in done.stderr
