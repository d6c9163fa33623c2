"""`errander key`: straight into PostgreSQL, and over the API; and what the API needs before it starts."""

import json
from pathlib import Path
from typing import Any

import pytest

from db.settings import SettingsRefusedError, read
from errander._cli import main
from service.auth import keys
from service.cli import api
from service.settings import ApiSettings, KeySettings, load
from tests.cli.test_server_commands import run
from tests.fixtures.servers import Databases

STRONG = "2f1c9a4be07d45c6a3f8d1b26e5c90aa"


@pytest.mark.usefixtures("environment")
def test_the_first_key_is_printed_alone_and_lets_the_api_start(capsys: pytest.CaptureFixture[str]) -> None:
    assert run(api, "api") == 2
    said = capsys.readouterr().err
    assert "errander key create --local" in said
    assert "ERRANDER_AUTH=off" in said
    assert main(["key", "create", "--local", "--name", "first", "--scope", "admin"]) == 0
    out, err = capsys.readouterr()
    assert keys.parse(out.removesuffix("\n")) is not None
    assert "not shown again" in err
    assert out.strip() not in err
    assert load().auth == "required"


@pytest.mark.usefixtures("environment")
def test_a_key_can_be_narrowed_and_read_by_a_program(capsys: pytest.CaptureFixture[str]) -> None:
    words = ["--name", "shop", "--scope", "submitter", "--scope", "jobs:cancel", "--task", "email.*"]
    more = ["--max-priority", "default", "--expires-in", "1d", "--tenant", "acme", "-o", "json"]
    assert main(["key", "create", "--local", *words, *more]) == 0
    made = json.loads(capsys.readouterr().out)
    assert made["scopes"] == ["jobs:cancel", "jobs:read", "jobs:submit"]
    assert (made["tenant"], made["tasks"], made["max_priority"]) == ("acme", ["email.*"], "default")
    assert made["expires_at"] is not None
    assert made["created_by"].startswith("local:")
    assert keys.parse(made["key"]) is not None


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["--name", "a", "--scope", "jobs:all"], "'jobs:all' is no scope or role; there are jobs:submit"),
        (["--name", "", "--scope", "admin"], "--name must be"),
        (["--name", "a\nb", "--scope", "admin"], "--name must be"),
        (["--name", "a", "--scope", "admin", "--tenant", "a/b"], "--tenant must match"),
        (["--name", "a", "--scope", "admin", "--task", "a b"], "--task 'a b'"),
        (["--name", "a", "--scope", "admin", "--expires-in", "0"], "--expires-in must be"),
    ],
)
@pytest.mark.usefixtures("environment")
def test_a_wish_that_cannot_be_meant_is_one_line(
    words: list[str], said: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["key", "create", "--local", *words]) == 2
    out, err = capsys.readouterr()
    assert out == ""
    assert said in err
    assert len(err.splitlines()) == 1


def test_a_database_that_is_away_or_not_migrated_is_exit_code_5(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], databases: Databases
) -> None:
    create = ["key", "create", "--local", "--name", "a", "--scope", "admin"]
    monkeypatch.setenv("DATABASE_URL", "postgresql://postgres@127.0.0.1:1/x")
    monkeypatch.setenv("REDIS_URL", "redis://127.0.0.1:1")
    assert main(create) == 5
    with pytest.raises(SettingsRefusedError, match="cannot be told") as refused:
        load()
    assert "ERRANDER_AUTH=off" in str(refused.value)
    name = databases.create()
    monkeypatch.setenv("DATABASE_URL", databases.server.url_of(name))
    assert main(create) == 5
    assert capsys.readouterr().out == ""
    with pytest.raises(SettingsRefusedError, match="there is no API key"):
        load()
    databases.drop(name)


def test_local_without_the_server_says_where_to_run_it(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr("errander._cli._local.entry_points", lambda **_: [])
    assert main(["key", "create", "--local", "--name", "a", "--scope", "admin"]) == 2
    assert "--local needs the server's code" in capsys.readouterr().err


def test_a_tenant_is_not_chosen_over_the_api(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["key", "create", "--name", "a", "--scope", "admin", "--tenant", "acme"]) == 2
    assert "--tenant goes with --local" in capsys.readouterr().err


BASE = {"DATABASE_URL": "postgresql://u:p@h/x", "REDIS_URL": "redis://h"}


@pytest.mark.parametrize("name", ["ERRANDER_JWT_SECRET", "ERRANDER_KEY_PEPPER"])
@pytest.mark.parametrize("secret", ["short", "x" * 64, "secret" * 6, "0101" * 20])
def test_a_weak_secret_is_refused_and_not_repeated(monkeypatch: pytest.MonkeyPatch, name: str, secret: str) -> None:
    for key, value in (BASE | {name: secret}).items():
        monkeypatch.setenv(key, value)
    with pytest.raises(SettingsRefusedError, match=f"{name}: is too weak") as refused:
        read(ApiSettings)
    assert secret not in str(refused.value)


@pytest.mark.parametrize("url", ["http://issuer.example/keys", "ftp://issuer.example", "issuer.example", "https://"])
def test_keys_of_an_issuer_are_fetched_by_https_only(monkeypatch: pytest.MonkeyPatch, url: str) -> None:
    for key, value in (BASE | {"ERRANDER_JWKS_URL": url}).items():
        monkeypatch.setenv(key, value)
    with pytest.raises(SettingsRefusedError, match="ERRANDER_JWKS_URL: must be an https address"):
        read(ApiSettings)
    monkeypatch.setenv("ERRANDER_JWKS_URL", "http://127.0.0.1:9/keys")
    assert load().jwks_url == "http://127.0.0.1:9/keys"


def test_tokens_are_of_one_kind(monkeypatch: pytest.MonkeyPatch) -> None:
    chosen = {"ERRANDER_JWKS_URL": "https://issuer.example/keys", "ERRANDER_JWT_SECRET": STRONG}
    for key, value in (BASE | chosen).items():
        monkeypatch.setenv(key, value)
    with pytest.raises(SettingsRefusedError, match="both set"):
        load()


def test_secrets_stand_in_files_and_in_no_text(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    (tmp_path / "secret").write_text(f"{STRONG}\n")
    for key, value in (BASE | {"ERRANDER_JWT_SECRET_FILE": str(tmp_path / "secret")}).items():
        monkeypatch.setenv(key, value)
    settings: Any = load()
    assert settings.jwt_secret.get_secret_value() == STRONG
    assert STRONG not in repr(settings)
    assert isinstance(settings, KeySettings)
