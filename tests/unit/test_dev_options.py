import os
from pathlib import Path

import pytest

import service
from service.dev.environment import external_address, part_environment, python_path, shared_values
from service.dev.options import DevError, DevOptions, is_loopback
from service.dev.reload import watched_folders

ROOT = str(Path(service.__file__).parents[1])


def options(**changes: object) -> DevOptions:
    values = {
        "host": "127.0.0.1",
        "port": 8000,
        "data_dir": Path(".errander"),
        "workers": 1,
        "tasks": ("a.b", "c"),
        "reload": True,
        "fresh": False,
        "external": False,
    }
    return DevOptions(**{**values, **changes})  # type: ignore[arg-type]


@pytest.mark.parametrize("host", ["127.0.0.1", "127.8.9.1", "::1", "localhost"])
def test_loopback_needs_no_authentication(host: str) -> None:
    assert is_loopback(host)
    options(host=host).check({})


@pytest.mark.parametrize("host", ["0.0.0.0", "::", "192.168.1.2", "example.org"])
def test_any_other_host_needs_authentication(host: str) -> None:
    with pytest.raises(DevError, match="ERRANDER_AUTH=required") as refused:
        options(host=host).check({"ERRANDER_AUTH": "off"})
    assert refused.value.exit_code == 2
    options(host=host).check({"ERRANDER_AUTH": "required"})


def test_the_url_is_one_that_this_machine_can_open() -> None:
    assert options(host="0.0.0.0").url == "http://127.0.0.1:8000"
    assert options(host="::").url == "http://[::1]:8000"


def test_the_servers_folder_comes_first_and_the_users_last() -> None:
    path = python_path(os.pathsep.join(["/x", "", "/y"]), Path("/here"))
    assert path.split(os.pathsep) == [ROOT, "/x", "/y", "/here"]


def test_a_part_sees_our_addresses_and_the_users_settings() -> None:
    outer = {
        "DATABASE_URL": "postgres://elsewhere",
        "DATABASE_URL_FILE": "/secret",
        "ERRANDER_LEASE_SECONDS": "20",
        "ERRANDER_WITH_WORKER": "1",
        "ERRANDER_LOG_FORMAT": "json",
        "ERRANDER_MIGRATE": "wait",
    }
    shared = shared_values(options(), "postgres://ours", "redis://ours", outer)
    env = part_environment(shared, outer, metrics_port=9001, folder=Path("/here"))
    assert env["DATABASE_URL"] == "postgres://ours"
    assert env["ERRANDER_TASKS"] == "a.b,c"
    assert env["ERRANDER_AUTH"] == "off"
    assert env["ERRANDER_MIGRATE"] == "auto"
    assert env["ERRANDER_METRICS_PORT"] == "9001"
    assert env["ERRANDER_SUPERVISED"] == "1"
    assert env["ERRANDER_LEASE_SECONDS"] == "20"
    assert env["ERRANDER_LOG_FORMAT"] == "json"
    assert not {"DATABASE_URL_FILE", "ERRANDER_WITH_WORKER"} & set(env)


def test_an_external_address_may_stand_in_a_file(tmp_path: Path) -> None:
    file = tmp_path / "url"
    file.write_text("postgres://x\n")
    assert external_address("DATABASE_URL", {"DATABASE_URL_FILE": str(file)}) == "postgres://x"
    assert external_address("DATABASE_URL", {"DATABASE_URL": "postgres://y"}) == "postgres://y"
    with pytest.raises(DevError, match="needs DATABASE_URL"):
        external_address("DATABASE_URL", {})
    (tmp_path / "latin").write_bytes(b"postgres://\xfc")
    for name in ("none", "latin"):
        with pytest.raises(DevError, match=f"DATABASE_URL_FILE: .*/{name} cannot be read") as refused:
            external_address("DATABASE_URL", {"DATABASE_URL_FILE": str(tmp_path / name)})
        assert refused.value.exit_code == 2


def test_no_value_of_the_env_file_has_a_blank() -> None:
    environ = {"ERRANDER_BUILTIN_TASKS": " http, demo "}
    shared = shared_values(options(tasks=("a.b", "c")), "postgres://x", "redis://y", environ)
    assert shared["ERRANDER_BUILTIN_TASKS"] == "http,demo"
    assert not any(" " in value for value in shared.values())


def test_source_folders_are_watched_and_environments_are_not(tmp_path: Path) -> None:
    for name in ("app", "lib", ".git", "venv", "node_modules", "empty", ".errander"):
        (tmp_path / name).mkdir()
        if name != "empty":
            (tmp_path / name / "module.py").touch()
    (tmp_path / "venv" / "pyvenv.cfg").touch()
    elsewhere = tmp_path / "empty" / "deep" / "down"
    (elsewhere / "pack").mkdir(parents=True)
    (elsewhere / "pack" / "__init__.py").touch()
    found = watched_folders(("app", "pack.tasks", "nosuch"), tmp_path, [str(elsewhere)], tmp_path / ".errander")
    assert found == [tmp_path / "app", tmp_path / "lib", elsewhere / "pack"]
