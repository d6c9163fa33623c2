"""Real child processes, small ones: what a supervisor does with the life and the death of a part."""

import asyncio
import io
import os
import signal
import subprocess
import sys
from collections.abc import AsyncIterator, Callable
from pathlib import Path

import psutil
import pytest

from service.supervise import Console, Output, Part, PartError, Restart, Supervisor, spawn
from service.supervise.supervisor import doubling
from tests.fixtures.waiting import eventually, eventually_sync

FOR_EVER = "import signal; signal.pause()"
GENTLE = """
import signal, sys
def end(*_):
    print("goodbye", flush=True)
    sys.exit(0)
signal.signal(signal.SIGTERM, end)
print("hello", flush=True)
while True:
    signal.pause()
"""
RETIRING = """
import signal, sys
signal.signal(signal.SIGUSR1, lambda *_: sys.exit(75))
print("hello", flush=True)
signal.pause()
"""
DEAF = "import signal, time\nsignal.signal(signal.SIGTERM, signal.SIG_IGN)\nprint('hello', flush=True)\ntime.sleep(60)"


class Bench:
    """A supervisor, and what was said on its console."""

    def __init__(self, folder: Path, backoff: Callable[[int], float] = lambda _: 0.01) -> None:
        self.folder = folder
        self._stream = io.StringIO()
        self.console = Console(self._stream)
        self.supervisor = Supervisor(self.console, records=folder, backoff=backoff)

    @property
    def said(self) -> str:
        self.console.flush()
        return self._stream.getvalue()

    def part(self, name: str, script: str, **options: object) -> Part:
        options.setdefault("output", Output.TERMINAL)
        return Part(name=name, argv=(sys.executable, "-c", script), **options)  # type: ignore[arg-type]

    def heard(self, *words: str) -> Callable[[int], bool]:
        return lambda _pid: all(word in self.said for word in words)


@pytest.fixture
async def bench(tmp_path: Path) -> AsyncIterator[Bench]:
    made = Bench(tmp_path)
    yield made
    made.supervisor.hurry()
    await made.supervisor.stop()


async def test_a_part_that_dies_is_started_again(bench: Bench) -> None:
    await bench.supervisor.start([bench.part("api", FOR_EVER)])
    first = bench.supervisor.pids()["api"]
    os.kill(first, signal.SIGKILL)
    await eventually(lambda: bench.supervisor.pids().get("api", first) != first)
    assert "api was ended by SIGKILL; it is started again in 0.01 s" in bench.said


async def test_a_part_that_retires_is_started_again_at_once(tmp_path: Path) -> None:
    waits: list[int] = []

    def wait_long(deaths: int) -> float:
        waits.append(deaths)
        return 60.0

    bench = Bench(tmp_path, backoff=wait_long)
    await bench.supervisor.start([bench.part("worker", RETIRING, ready=bench.heard("hello"))])
    first = bench.supervisor.pids()["worker"]
    os.kill(first, signal.SIGUSR1)
    await eventually(lambda: bench.supervisor.pids().get("worker", first) != first)
    assert "worker retired; it is started again at once" in bench.said
    assert waits == []
    bench.supervisor.hurry()
    await bench.supervisor.stop()


async def test_a_part_that_refuses_to_start_ends_the_wait_and_the_others_are_stopped(bench: Bench) -> None:
    parts = [bench.part("one", "raise SystemExit(2)", exit_refused=2), bench.part("two", FOR_EVER, exit_refused=2)]
    await bench.supervisor.start(parts)
    with pytest.raises(PartError, match="one refused to start: it ended with exit code 2") as refused:
        await asyncio.wait_for(bench.supervisor.finished(), 10)
    assert refused.value.code == 2
    assert list(bench.supervisor.pids()) == ["two"]
    await bench.supervisor.stop()
    assert "started again" not in bench.said


async def test_a_part_that_ran_for_a_while_is_started_again_whatever_it_ended_with(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("service.supervise.keeper._GOOD_LIFE_SECONDS", 0.0)
    await bench.supervisor.start([bench.part("worker", "raise SystemExit(2)", exit_refused=2)])
    await eventually(lambda: "worker ended with exit code 2; it is started again" in bench.said)


async def test_a_part_that_finished_is_not_started_again(bench: Bench) -> None:
    await bench.supervisor.start([bench.part("worker", "pass", ready=lambda _: False)])
    assert await bench.supervisor.finished() == 0


async def test_a_part_that_must_always_run_is_started_again_after_finishing(bench: Bench) -> None:
    await bench.supervisor.start([bench.part("api", "import time; time.sleep(0.2)", restart=Restart.ALWAYS)])
    await eventually(lambda: "ended with exit code 0" in bench.said)


async def test_a_start_that_fails_says_what_the_part_said(bench: Bench) -> None:
    script = "import sys; sys.exit('no such setting')"
    part = bench.part("api", script, ready=lambda _: False, output=Output.FILE, log_file=bench.folder / "api.log")
    with pytest.raises(PartError, match="api did not start: it ended with exit code 1") as failure:
        await bench.supervisor.start([part])
    assert failure.value.lines == ("no such setting",)


async def test_a_part_that_is_not_ready_in_time_fails_the_start(bench: Bench) -> None:
    with pytest.raises(PartError, match=r"was not ready within 0\.2 seconds"):
        await bench.supervisor.start([bench.part("api", FOR_EVER, ready=lambda _: False, ready_timeout=0.2)])


async def test_a_program_that_does_not_exist_fails_the_start(bench: Bench) -> None:
    with pytest.raises(PartError, match="exit code 126"):
        await bench.supervisor.start([Part(name="x", argv=("/no/such/program",), ready=lambda _: False)])


async def test_parts_stop_in_reverse_and_may_say_goodbye(bench: Bench) -> None:
    for stage, name in enumerate(("server", "api", "worker")):
        await bench.supervisor.start([bench.part(name, GENTLE, stage=stage, ready=bench.heard(f"{name:<9} | hello"))])
    await bench.supervisor.stop()
    goodbyes = [line.split()[0] for line in bench.said.splitlines() if line.endswith("goodbye")]
    assert goodbyes == ["worker", "api", "server"]
    assert list(bench.folder.glob("*.pid")) == []


async def test_a_part_that_does_not_end_in_its_grace_is_killed(bench: Bench) -> None:
    await bench.supervisor.start([bench.part("api", DEAF, grace=0.1, ready=bench.heard("hello"))])
    pid = bench.supervisor.pids()["api"]
    await bench.supervisor.stop()
    assert "api did not end in time and is killed" in bench.said
    assert not psutil.pid_exists(pid)


async def test_a_hurry_cuts_a_grace_that_is_running(bench: Bench) -> None:
    await bench.supervisor.start([bench.part("api", DEAF, grace=60, ready=bench.heard("hello"))])
    stopping = asyncio.create_task(bench.supervisor.stop())
    bench.supervisor.hurry()
    await asyncio.wait_for(stopping, 5)


async def test_what_a_part_started_goes_with_it(bench: Bench) -> None:
    script = (
        "import subprocess, sys\np = subprocess.Popen(['sleep', '60'])\nprint('child', p.pid, flush=True)\n" + FOR_EVER
    )
    await bench.supervisor.start([bench.part("api", script, ready=bench.heard("child"))])
    pid = int(bench.said.split("child")[1].split()[0])
    os.kill(bench.supervisor.pids()["api"], signal.SIGKILL)
    await eventually(lambda: not psutil.pid_exists(pid) or psutil.Process(pid).status() == psutil.STATUS_ZOMBIE)


async def test_a_replaced_part_drains_beside_its_successor(bench: Bench) -> None:
    await bench.supervisor.start([bench.part("worker", DEAF, grace=60, ready=bench.heard("hello"))])
    old = bench.supervisor.pids()["worker"]
    await bench.supervisor.replace("worker")
    await eventually(lambda: bench.supervisor.pids().get("worker", old) != old)
    assert psutil.pid_exists(old)


async def test_lines_go_to_the_log_file_too(bench: Bench) -> None:
    log = bench.folder / "logs" / "api.log"
    await bench.supervisor.run(
        bench.part("api", "import sys; print('out'); print('err', file=sys.stderr)", log_file=log)
    )
    assert sorted(log.read_text().split()) == ["err", "out"]
    assert "api       | out" in bench.said


async def test_a_part_is_recorded_while_it_runs(bench: Bench) -> None:
    await bench.supervisor.start([bench.part("api", FOR_EVER)])
    pid = bench.supervisor.pids()["api"]
    assert [path.name for path in bench.folder.glob("*.pid")] == [f"api.{pid}.pid"]


async def test_each_part_leads_a_session_of_its_own(bench: Bench) -> None:
    await bench.supervisor.start([bench.part("api", FOR_EVER)])
    pid = bench.supervisor.pids()["api"]
    assert os.getsid(pid) == pid != os.getsid(0)


def test_waits_double_up_to_a_bound() -> None:
    assert [doubling(n) for n in (1, 2, 3)] == [0.1, 0.2, 0.4]
    assert doubling(1000) == 10.0


@pytest.mark.skipif(sys.platform != "linux", reason="only Linux tells a child of its parent's death")
def test_a_child_is_ended_when_its_launcher_is_killed(tmp_path: Path) -> None:
    script = (
        "import signal, sys\nfrom service.supervise import spawn\n"
        f"p = spawn([sys.executable, '-c', {FOR_EVER!r}], death_signal=signal.SIGTERM)\n"
        "print(p.pid, flush=True)\nsignal.pause()"
    )
    env = {**os.environ, "PYTHONPATH": str(Path(spawn.__code__.co_filename).parents[2])}
    with subprocess.Popen([sys.executable, "-c", script], stdout=subprocess.PIPE, env=env) as launcher:
        assert launcher.stdout is not None
        pid = int(launcher.stdout.readline())
        launcher.kill()
    eventually_sync(lambda: not psutil.pid_exists(pid) or psutil.Process(pid).status() == psutil.STATUS_ZOMBIE)
