"""One run of `errander chaos` over real processes: every promise is kept while everything breaks.

The run is one, and each promise and each kind of fault is a test of its own: so a failure says which, and a file of many
tests is among the first that a parallel run begins.
"""

import json
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Final

import pytest

from service.chaos import plan
from service.chaos.checks import RULES
from service.chaos.plan import FAILPOINTS, FAULTS
from tests.fixtures.servers import open_folder

SEED: Final = 15
MINUTES: Final = 3.0
ERRANDER: Final = str(Path(sys.executable).with_name("errander"))
_LONGEST_SECONDS = 800.0
_TOLD = 12_000  # characters of what a failure shows

pytestmark = [pytest.mark.faults, pytest.mark.timeout(900)]


@pytest.fixture(scope="module")
def result() -> Iterator[dict[str, Any]]:
    """What the run says."""
    with open_folder(in_memory=True) as folder:
        yield _run(folder / "run")


def _run(folder: Path) -> dict[str, Any]:
    options = ("--seed", str(SEED), "--minutes", str(MINUTES), "--workers", "3", "--rate", "12")
    done = subprocess.run(
        [ERRANDER, "chaos", *options, "--folder", str(folder), "-o", "json"],
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=_LONGEST_SECONDS,
        check=False,
    )
    assert done.returncode in (0, 1), done.stderr[-_TOLD:]
    found: dict[str, Any] = json.loads(done.stdout)
    assert (done.returncode == 0) == found["clean"] == (not folder.exists())
    return found


@pytest.mark.parametrize("rule", RULES)
def test_the_promise_was_kept(rule: str, result: dict[str, Any]) -> None:
    broken = [one for one in result["violations"] if one["rule"] == rule]
    assert not broken, f"{RULES[rule]}\n{json.dumps(broken, indent=1)[:_TOLD]}"


@pytest.mark.parametrize("name", [name for name in FAULTS if name != FAILPOINTS])
def test_the_fault_was_due(name: str, result: dict[str, Any]) -> None:
    planned = [fault.name for fault in plan.schedule(SEED, MINUTES * 60, tuple(FAULTS))].count(name)
    assert result["faults"][name][0] == planned > 0


def test_most_faults_really_happened(result: dict[str, Any]) -> None:
    happened = [one["really"] for one in result["happened"]]
    assert sum(happened) >= 0.7 * len(happened), result["happened"]


def test_failpoints_fired(result: dict[str, Any]) -> None:
    assert sum(result["failpoints"].values()) > 0


def test_jobs_ran_more_than_once_and_processes_were_replaced(result: dict[str, Any]) -> None:
    figures = result["figures"]
    assert figures["starts_beyond_the_first"] > figures["rescued"] > 0
    assert figures["processes"] > 2 + 3  # the APIs and the workers that the run began with


def test_every_outcome_there_is_came_up(result: dict[str, Any]) -> None:
    assert set(result["figures"]["final"]) == {"SUCCESS", "FAILED", "CANCELLED"}
    assert result["figures"]["accepted"] > 0.5 * result["figures"]["submitted"]
