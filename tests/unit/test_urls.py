"""Addresses as platforms hand them out."""

from pathlib import Path

import pytest

from db.errors import SettingsError
from db.settings import SettingsRefusedError, read
from db.urls import SSL_MODES, Encryption, encryption, masked, postgres_dsn, system_authorities
from service.cli.psql import connection
from service.settings import ApiSettings
from workers import redis_client


@pytest.mark.parametrize(
    "url",
    [
        "postgres://u:p@h:5432/d",
        "postgresql://u:p@h:5432/d",
        "postgresql+asyncpg://u:p@h:5432/d",
        "  postgres://u:p@h:5432/d\n",
        "POSTGRES://u:p@h:5432/d",
    ],
)
def test_every_form_becomes_libpqs(url: str) -> None:
    assert postgres_dsn(url) == "postgresql://u:p@h:5432/d"


def test_parameters_hosts_and_escapes_stay_as_they_are(tmp_path: Path) -> None:
    (tmp_path / "ca.pem").touch()
    url = (
        f"postgres://u:p%40ss@h1:5432,h2:5433/d?sslmode=verify-full&sslrootcert={tmp_path}/ca.pem"
        "&target_session_attrs=read-write"
    )
    assert postgres_dsn(url) == url.replace("postgres:", "postgresql:", 1)
    assert postgres_dsn("postgres:///d?host=/run/postgresql") == "postgresql:///d?host=/run/postgresql"


@pytest.mark.parametrize(
    "url", ["", "h:5432/d", "mysql://u:secret@h/d", "postgresql+psycopg://u:secret@h/d", "postgres://u:secret@[::1"]
)
def test_anything_else_is_refused_without_its_password(url: str) -> None:
    with pytest.raises(SettingsError, match="DATABASE_URL") as refused:
        postgres_dsn(url)
    assert "secret" not in str(refused.value)


@pytest.mark.parametrize(
    ("url", "shown"),
    [
        ("postgresql://u:p@h/d", "postgresql://u:***@h/d"),
        ("postgresql://u@h/d", "postgresql://u@h/d"),
        ("redis://:p@h:6379/0", "redis://:***@h:6379/0"),
        ("postgresql://h/d?sslpassword=p&sslmode=require", "postgresql://h/d?sslpassword=***&sslmode=require"),
        ("postgresql://u:p@h1,h2/d?sslmode=require", "postgresql://u:***@h1,h2/d?sslmode=require"),
    ],
)
def test_a_masked_address_shows_all_but_the_password(url: str, shown: str) -> None:
    assert masked(url) == shown


# -- TLS ---------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("query", "words"),
    [
        ("sslmode=verify", "one of disable, allow, prefer, require, verify-ca, verify-full"),
        ("sslmode=verify-full&sslrootcert=/nowhere/ca.pem", "sslrootcert=/nowhere/ca.pem cannot be read"),
        ("sslcert=/nowhere/me.pem", "sslcert=/nowhere/me.pem cannot be read"),
        ("sslkey=/nowhere/me.key", "sslkey"),
        ("sslmode=require&sslrootcert=system", "verify-full only"),
        ("sslmode=require&channel_binding=require", "channel_binding"),
    ],
)
def test_tls_that_cannot_be_had_is_refused_before_anything_is_connected(query: str, words: str) -> None:
    with pytest.raises(SettingsError, match=words) as refused:
        postgres_dsn(f"postgresql://u:secret@h/d?{query}")
    assert "secret" not in str(refused.value)


@pytest.mark.parametrize("mode", SSL_MODES)
def test_every_mode_of_libpq_is_taken(mode: str) -> None:
    assert postgres_dsn(f"postgres://h/d?sslmode={mode}") == f"postgresql://h/d?sslmode={mode}"


def test_the_systems_authorities_become_a_file_and_full_verification() -> None:
    file = system_authorities()
    assert Path(file).is_file()
    wanted = f"postgresql://h/d?sslrootcert={file}&sslmode=verify-full"
    assert postgres_dsn("postgresql://h/d?sslrootcert=system") == wanted
    assert postgres_dsn("postgresql://h/d?sslrootcert=system&sslmode=verify-full") == wanted


@pytest.mark.parametrize(
    ("given", "left"),
    [
        ("?channel_binding=prefer", ""),
        ("?sslmode=require&channel_binding=disable", "?sslmode=require"),
        ("?channel_binding=prefer&sslmode=require", "?sslmode=require"),
    ],
)
def test_channel_binding_that_is_not_required_is_left_out(given: str, left: str) -> None:
    assert postgres_dsn(f"postgresql://h/d{given}") == f"postgresql://h/d{left}"


@pytest.mark.parametrize(
    ("dsn", "environ", "found"),
    [
        ("postgresql://db.example/d", {}, Encryption.OPPORTUNE),
        ("postgresql://db.example/d?sslmode=prefer", {}, Encryption.OPPORTUNE),
        ("postgresql://db.example/d?sslmode=disable", {}, Encryption.NONE),
        ("postgresql://db.example/d?sslmode=require", {"PGSSLROOTCERT": "/ca.pem"}, Encryption.VERIFIED_ISSUER),
        ("postgresql://db.example/d?sslmode=require&sslrootcert=/ca.pem", {}, Encryption.VERIFIED_ISSUER),
        ("postgresql://db.example/d?sslmode=verify-ca", {}, Encryption.VERIFIED_ISSUER),
        ("postgresql://db.example/d?sslmode=verify-full", {}, Encryption.VERIFIED),
        ("postgresql://db.example/d", {"PGSSLMODE": "verify-full"}, Encryption.VERIFIED),
        ("postgresql://u:p@127.0.0.1:5432,localhost/d", {}, Encryption.LOCAL),
        ("postgresql://127.0.0.1,db.example/d?sslmode=disable", {}, Encryption.NONE),
        ("postgresql://[::1]:5432/d", {}, Encryption.LOCAL),
        ("postgresql:///d?host=/run/postgresql", {}, Encryption.LOCAL),
        ("postgresql:///d", {"PGHOST": "db.example"}, Encryption.OPPORTUNE),
    ],
)
def test_an_address_of_postgresql_says_how_private_it_is(
    dsn: str, environ: dict[str, str], found: Encryption, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HOME", "/nonexistent")
    assert encryption(dsn, environ) is found


def test_require_without_an_authority_checks_nobody(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    assert encryption("postgresql://db.example/d?sslmode=require", {}) is Encryption.UNVERIFIED
    (tmp_path / ".postgresql").mkdir()
    (tmp_path / ".postgresql/root.crt").touch()
    assert encryption("postgresql://db.example/d?sslmode=require", {}) is Encryption.VERIFIED_ISSUER


def test_psql_is_given_the_same_tls(tmp_path: Path) -> None:
    for name in ("ca.pem", "me.pem", "me.key"):
        (tmp_path / name).touch()
    files = f"sslrootcert={tmp_path}/ca.pem&sslcert={tmp_path}/me.pem&sslkey={tmp_path}/me.key"
    given = connection(postgres_dsn(f"postgres://u:p@db.example/d?sslmode=verify-full&{files}"))
    assert {name: value for name, value in given.items() if name.startswith("PGSSL")} == {
        "PGSSLMODE": "verify-full",
        "PGSSLROOTCERT": f"{tmp_path}/ca.pem",
        "PGSSLCERT": f"{tmp_path}/me.pem",
        "PGSSLKEY": f"{tmp_path}/me.key",
    }


@pytest.mark.parametrize(
    ("url", "found"),
    [
        ("redis://r.example", Encryption.NONE),
        ("rediss://r.example", Encryption.VERIFIED),
        ("rediss://r.example?ssl_check_hostname=false", Encryption.VERIFIED_ISSUER),
        ("rediss://r.example?ssl_cert_reqs=none", Encryption.UNVERIFIED),
        ("redis://:p@localhost:6379/0", Encryption.LOCAL),
        ("redis://127.0.0.1", Encryption.LOCAL),
        ("unix:///run/valkey.sock", Encryption.LOCAL),
        ("redis+sentinel://:p@a.example:26379,b.example/main", Encryption.NONE),
    ],
)
def test_an_address_of_redis_says_how_private_it_is(url: str, found: Encryption) -> None:
    assert redis_client.encryption(url) is found


@pytest.mark.parametrize(
    ("url", "words"),
    [
        ("redis://h?ssl_ca_certs=/ca.pem", "needs rediss"),
        ("rediss://h?ssl_ca_certs=/nowhere/ca.pem", "ssl_ca_certs=/nowhere/ca.pem cannot be read"),
        ("rediss://h?ssl_cert_reqs=maybe", "one of required, optional, none"),
        ("rediss://h?ssl_cert_reqs=none&ssl_check_hostname=yes", "ssl_check_hostname needs"),
        ("rediss://h?ssl_min_version=SSLv3", "TLSv1.2"),
        ("rediss://h?ssl_cert_req=required", "ssl_cert_req is not known"),
    ],
)
def test_tls_that_redis_cannot_have_is_refused(url: str, words: str) -> None:
    with pytest.raises(ValueError, match=words):
        redis_client.connect(url)


def test_an_api_whose_addresses_cannot_be_used_says_so_at_start(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DATABASE_URL", "postgresql://u:secret@h/d?sslmode=verify")
    monkeypatch.setenv("REDIS_URL", "rediss://:secret@h?ssl_ca_certs=/nowhere/ca.pem")
    with pytest.raises(SettingsRefusedError) as refused:
        read(ApiSettings)
    assert [line.split(":")[0] for line in refused.value.lines] == ["DATABASE_URL", "REDIS_URL"]
    assert "secret" not in str(refused.value)


def test_the_name_of_a_redis_server_is_checked_unless_somebody_says_otherwise() -> None:
    assert redis_client.tls_options("rediss://h")["ssl_check_hostname"] is True
    assert redis_client.tls_options("rediss://h?ssl_check_hostname=false")["ssl_check_hostname"] is False
    client = redis_client.connect("rediss://:p@h:1/3?ssl_min_version=TLSv1.3&client_name=x")
    kept = client.connection_pool.connection_kwargs
    assert (kept["ssl_check_hostname"], kept["db"], kept["client_name"]) == (True, 3, "x")
    assert kept["ssl_min_version"].name == "TLSv1_3"
