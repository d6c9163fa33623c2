"""The pages of the API, and the settings that the application starts with."""

import re
from typing import Any

import httpx
import pytest

from db.settings import SettingsRefusedError
from service import settings as settings_module
from service.settings import load
from tests.api.problems import pointers

DATABASE = "postgresql://u:hidden@127.0.0.1/x"


async def test_the_pages_load_nothing_from_elsewhere(api: httpx.AsyncClient) -> None:
    page = await api.get("/docs")
    policy = page.headers["content-security-policy"]
    assert "default-src 'none'" in policy
    assert "script-src 'self'" in policy
    assert "//" not in page.text.replace("<!doctype", "")
    for address in re.findall(r'(?:src|href)="([^"]+)"', page.text):
        part = await api.get(address)
        assert part.status_code == 200, address
    assert "<script>" not in page.text
    assert (await api.get("/")).headers["location"] == "/docs"


@pytest.mark.parametrize(
    "path",
    ["/", "/docs", "/docs/start.js", "/docs/swagger-ui.css", "/openapi.json", "/problems/internal", "/v1/version"],
)
async def test_a_page_knows_no_parameters(api: httpx.AsyncClient, path: str) -> None:
    assert (await api.get(path)).status_code in (200, 307)
    assert pointers(await api.get(path, params={"x": "1"})) == {"x": "unknown-parameter"}


@pytest.mark.parametrize("path", ["/healthz", "/readyz"])
async def test_a_probe_may_ask_as_it_likes(api: httpx.AsyncClient, path: str) -> None:
    assert (await api.get(path, params={"x": "1"})).status_code == 200


async def test_liveness_needs_no_body(api: httpx.AsyncClient) -> None:
    assert (await api.head("/healthz")).status_code == 200


def refused(monkeypatch: pytest.MonkeyPatch, **environment: str) -> list[str]:
    for name, value in environment.items():
        monkeypatch.setenv(name, value)
    with pytest.raises(SettingsRefusedError) as caught:
        load()
    return caught.value.lines


def test_everything_that_is_wrong_with_the_settings_is_said_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    lines = refused(monkeypatch, ERRANDER_PORT="many", ERRANDER_MIGRATE="later", DATABASE_URL="mysql://u:hidden@h/x")
    assert [line.split(":")[0] for line in lines] == ["DATABASE_URL", "REDIS_URL", "ERRANDER_MIGRATE", "ERRANDER_PORT"]
    assert "REDIS_URL: is not set" in lines
    assert "hidden" not in "".join(lines)


def test_without_credentials_the_api_starts_only_when_told_so(monkeypatch: pytest.MonkeyPatch) -> None:
    (line,) = refused(monkeypatch, DATABASE_URL=DATABASE, REDIS_URL="redis://h")
    assert "ERRANDER_AUTH=off" in line
    monkeypatch.setenv("ERRANDER_AUTH", "off")
    assert load().auth == "off"


def test_origins_are_named_one_by_one(monkeypatch: pytest.MonkeyPatch) -> None:
    (line,) = refused(
        monkeypatch, DATABASE_URL=DATABASE, REDIS_URL="redis://h", ERRANDER_CORS_ORIGINS="https://a.example, *"
    )
    assert line.startswith("ERRANDER_CORS_ORIGINS: '*' is no origin")
    monkeypatch.setenv("ERRANDER_AUTH", "off")
    monkeypatch.setenv("ERRANDER_CORS_ORIGINS", "https://a.example,http://localhost:5173")
    assert load().cors_origins == ("https://a.example", "http://localhost:5173")


def test_a_setting_can_stand_in_a_file(monkeypatch: pytest.MonkeyPatch, tmp_path: Any) -> None:
    (tmp_path / "url").write_text(f"{DATABASE}\n")
    monkeypatch.setenv("DATABASE_URL_FILE", str(tmp_path / "url"))
    monkeypatch.setenv("REDIS_URL", "redis://h")
    monkeypatch.setenv("ERRANDER_AUTH", "off")
    assert load().database_url.get_secret_value() == DATABASE
    assert "hidden" not in repr(load())
    assert settings_module.ApiSettings.model_config["frozen"] is True
