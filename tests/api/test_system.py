"""The description of the API, its pages, and the settings that the application starts with."""

import re
from typing import Any

import httpx
import pytest
from fastapi import FastAPI

from service import settings as settings_module
from service.problems import CODES
from service.settings import SettingsRefusedError, load

DATABASE = "postgresql://u:hidden@127.0.0.1/x"


async def test_the_description_names_every_route_its_scope_and_its_problems(
    app: FastAPI, api: httpx.AsyncClient
) -> None:
    found = (await api.get("/openapi.json")).json()
    ids = []
    for path, operations in found["paths"].items():
        for method, operation in operations.items():
            ids.append(operation["operationId"])
            if path.startswith("/v1/") and path != "/v1/version":
                assert operation["x-scope"], path
                assert "application/problem+json" in operation["responses"]["503"]["content"], path
            assert operation["summary"], path
            if method in ("post", "patch"):
                assert "requestBody" in operation, path
    assert len(ids) == len(set(ids))
    served = {pattern.pattern for pattern, _ in app.state.methods if pattern.pattern.startswith("^/v1/")}
    assert len(served) == len([path for path in found["paths"] if path.startswith("/v1/")])


async def test_every_reference_in_the_description_leads_somewhere(api: httpx.AsyncClient) -> None:
    found = (await api.get("/openapi.json")).json()

    def references(value: Any) -> set[str]:
        if isinstance(value, dict):
            own = {value["$ref"]} if isinstance(value.get("$ref"), str) else set()
            return own.union(*map(references, value.values()))
        return set().union(*map(references, value)) if isinstance(value, list) else set()

    names = {reference.removeprefix("#/components/schemas/") for reference in references(found)}
    assert names <= set(found["components"]["schemas"])
    assert {"SubmitBody", "JobDocument", "Problem"} <= names
    assert set(found["components"]["schemas"]["Problem"]["properties"]["code"]["enum"]) == set(CODES)


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


def test_a_setting_can_stand_in_a_file(monkeypatch: pytest.MonkeyPatch, tmp_path: Any) -> None:
    (tmp_path / "url").write_text(f"{DATABASE}\n")
    monkeypatch.setenv("DATABASE_URL_FILE", str(tmp_path / "url"))
    monkeypatch.setenv("REDIS_URL", "redis://h")
    monkeypatch.setenv("ERRANDER_AUTH", "off")
    assert load().database_url.get_secret_value() == DATABASE
    assert "hidden" not in repr(load())
    assert settings_module.ApiSettings.model_config["frozen"] is True
