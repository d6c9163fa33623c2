"""Settings of a worker: where they come from, and what is refused."""

from pathlib import Path
from typing import Any, cast

import arq.worker
import pytest
from arq.cli import watch_reload
from pydantic import ValidationError

from db.lifecycle import Priority
from db.settings import SettingsRefusedError, read
from workers.arq_worker import settings_class
from workers.settings import LEAVING_SECONDS, DrainSettings, WorkerSettings

NEEDED = {"DATABASE_URL": "postgresql://u:secret@h/d", "REDIS_URL": "redis://h"}


@pytest.fixture(autouse=True)
def addresses(monkeypatch: pytest.MonkeyPatch) -> None:
    """The two that have no default."""
    for name, value in NEEDED.items():
        monkeypatch.setenv(name, value)


def test_the_defaults_are_those_that_are_documented() -> None:
    settings = WorkerSettings()
    assert (settings.pool, settings.slots, settings.threads, settings.max_jobs) == ("default", 100, 32, None)
    assert (settings.lease, settings.heartbeat, settings.reaper, settings.leader) == (30, 5, 5, 10)
    assert (settings.head, settings.hint_window, settings.hint_horizon) == (1, 5000, 60)
    assert (settings.drain, settings.stuck) == (25, 10)
    assert settings.priorities == tuple(Priority)
    assert settings.builtin_tasks == ("http", "email")
    assert settings.db_schema == "errander"


def test_lists_are_separated_by_commas(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ERRANDER_TASKS", " a.b , c.d,")
    monkeypatch.setenv("ERRANDER_PRIORITIES", "low, high")
    settings = WorkerSettings()
    assert settings.tasks == ("a.b", "c.d")
    assert settings.priorities == (Priority.LOW, Priority.HIGH)


@pytest.mark.parametrize(("lease", "heartbeat", "taken"), [("20", "5", True), ("19.9", "5", False), ("30", "8", False)])
def test_a_lease_below_four_beats_is_refused(
    monkeypatch: pytest.MonkeyPatch, lease: str, heartbeat: str, taken: bool
) -> None:
    monkeypatch.setenv("ERRANDER_LEASE_SECONDS", lease)
    monkeypatch.setenv("ERRANDER_HEARTBEAT_SECONDS", heartbeat)
    if taken:
        assert WorkerSettings().lease == float(lease)
    else:
        with pytest.raises(ValidationError, match="at least 4 times"):
            WorkerSettings()


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("ERRANDER_POOL", "Not A Pool"),
        ("ERRANDER_PRIORITIES", "urgent"),
        ("ERRANDER_PRIORITIES", ","),
        ("ERRANDER_SLOTS", "-1"),
        ("ERRANDER_THREADS", "0"),
        ("ERRANDER_LEASE_SECONDS", "0"),
        ("ERRANDER_METRICS_PORT", "70000"),
        ("ERRANDER_MIGRATE", "never"),
        ("ERRANDER_LOG_FORMAT", "xml"),
        ("ERRANDER_DB_SCHEMA", "Bad-Name"),
    ],
)
def test_what_makes_no_sense_is_refused(monkeypatch: pytest.MonkeyPatch, name: str, value: str) -> None:
    monkeypatch.setenv(name, value)
    with pytest.raises(ValidationError):
        WorkerSettings()


@pytest.mark.parametrize(("days", "hours", "taken"), [("1", "24", True), ("0", "24", True), ("0.5", "24", False)])
def test_jobs_that_would_be_deleted_before_their_keys_are_free_are_refused(
    monkeypatch: pytest.MonkeyPatch, days: str, hours: str, taken: bool
) -> None:
    monkeypatch.setenv("ERRANDER_RETENTION_SUCCESS_DAYS", days)
    monkeypatch.setenv("ERRANDER_IDEMPOTENCY_HOURS", hours)
    if taken:
        WorkerSettings()
    else:
        with pytest.raises(ValidationError, match="ERRANDER_RETENTION_SUCCESS_DAYS"):
            WorkerSettings()


def test_all_that_is_wrong_is_said_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ERRANDER_SLOTS", "many")
    monkeypatch.setenv("ERRANDER_POOL", "!")
    monkeypatch.delenv("REDIS_URL")
    with pytest.raises(ValidationError) as refused:
        WorkerSettings()
    assert {str(error["loc"][0]) for error in refused.value.errors()} == {
        "ERRANDER_SLOTS",
        "ERRANDER_POOL",
        "REDIS_URL",
    }


def test_every_name_can_be_a_file(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.delenv("DATABASE_URL")
    for name, value in {"DATABASE_URL": "postgresql://u:from-file@h/d", "ERRANDER_SLOTS": "7"}.items():
        path = tmp_path / name
        path.write_text(f"{value}\n")
        monkeypatch.setenv(f"{name}_FILE", str(path))
    settings = WorkerSettings()
    assert settings.database_url.get_secret_value() == "postgresql://u:from-file@h/d"
    assert settings.slots == 7


def test_a_plain_name_goes_before_its_file_and_an_empty_one_does_not(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    path = tmp_path / "slots"
    path.write_text("7")
    monkeypatch.setenv("ERRANDER_SLOTS_FILE", str(path))
    monkeypatch.setenv("ERRANDER_SLOTS", "9")
    assert WorkerSettings().slots == 9
    monkeypatch.setenv("ERRANDER_SLOTS", "")
    assert WorkerSettings().slots == 7


def test_other_programs_files_are_left_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SOMEBODY_ELSES_FILE", "/nowhere/at/all")
    monkeypatch.setenv("ERRANDER_JWT_SECRET_FILE", "/run/secrets/of_the_api")
    assert WorkerSettings().slots == 100


def test_settings_cannot_be_changed_and_show_no_secret() -> None:
    settings = WorkerSettings()
    with pytest.raises(ValidationError):
        settings.slots = 5  # type: ignore[misc]  # what it refuses is the point
    assert "secret" not in repr(settings)


def test_arqs_command_says_what_is_missing_in_lines_and_not_in_a_traceback(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(arq.worker, "Worker", arq.worker.Worker)  # put back what asking for a class replaces
    for name in NEEDED:
        monkeypatch.delenv(name)
    with pytest.raises(SystemExit) as refused:
        settings_class("HighSettings")
    assert refused.value.code == 2
    assert capsys.readouterr().err.splitlines() == [
        "arq workers: DATABASE_URL: is not set",
        "arq workers: REDIS_URL: is not set",
    ]


@pytest.mark.parametrize(
    ("name", "value", "said"),
    [
        ("ERRANDER_PRIORITIES", "urgent", ["ERRANDER_PRIORITIES: Input should be 'high', 'default' or 'low'"]),
        ("ERRANDER_PRIORITIES", ",", ["ERRANDER_PRIORITIES: Tuple should have at least 1 item"]),
        ("ERRANDER_LEASE_SECONDS", "1", ["ERRANDER_LEASE_SECONDS (1) must be at least 4 times"]),
        ("ERRANDER_DB_SCHEMA", "Bad-Name", ["ERRANDER_DB_SCHEMA: String should match"]),
        ("ERRANDER_SLOTS_FILE", "/no/such/file", ["ERRANDER_SLOTS_FILE: /no/such/file cannot be read: No such file"]),
        ("ERRANDER_SLOTS_FILE", "/", ["ERRANDER_SLOTS_FILE: / cannot be read: Is a directory"]),
        ("DATABASE_URL", "mysql://u:p@h/x", ["DATABASE_URL: must begin with postgresql://"]),
        ("REDIS_URL", "redis+sentinel://h", ["REDIS_URL: "]),
    ],
)
def test_both_kinds_of_process_say_what_is_wrong_in_the_same_words(
    monkeypatch: pytest.MonkeyPatch, name: str, value: str, said: list[str]
) -> None:
    monkeypatch.setenv(name, value)
    with pytest.raises(SettingsRefusedError) as refused:
        read(WorkerSettings)
    assert [
        line.removeprefix("settings: ")[: len(begin)] for line, begin in zip(refused.value.lines, said, strict=True)
    ] == said


async def test_arqs_watch_is_refused_in_one_line(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(arq.worker, "Worker", arq.worker.Worker)
    with pytest.raises(SystemExit, match=r"--watch is not supported; `errander dev") as refused:
        await watch_reload(str(tmp_path), cast("Any", settings_class("Settings")))
    assert refused.value.__context__ is None, "nothing else went wrong on the way out"


def test_a_supervisor_waits_for_longer_than_the_drain(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    path = tmp_path / "drain"
    path.write_text("60")
    monkeypatch.setenv("ERRANDER_DRAIN_SECONDS_FILE", str(path))
    assert WorkerSettings().grace == read(DrainSettings).grace == 60 + LEAVING_SECONDS
