"""Addresses as platforms hand them out."""

import pytest

from db.errors import SettingsError
from db.urls import masked, postgres_dsn


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


def test_parameters_hosts_and_escapes_stay_as_they_are() -> None:
    url = (
        "postgres://u:p%40ss@h1:5432,h2:5433/d?sslmode=verify-full&sslrootcert=/ca.pem&target_session_attrs=read-write"
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
        ("postgresql://u:p@h1,h2/d?sslmode=require", "postgresql://u:***@h1,h2/d?sslmode=require"),
    ],
)
def test_a_masked_address_shows_all_but_the_password(url: str, shown: str) -> None:
    assert masked(url) == shown
