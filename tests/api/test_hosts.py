"""By which names the API may be asked: without credentials, by none that a stranger could own."""

import httpx
import pytest
from pydantic import ValidationError

from service.main import create_app
from service.settings import ApiSettings
from tests.api.conftest import settings_for
from tests.api.problems import problem

LOCAL = [
    *("test", "localhost:8000", "errander-api", "127.0.0.1", "10.0.0.7:8000", "[::1]:8000", "[::ffff:10.0.0.7]"),
    *("jobs.localhost", "LOCALHOST.", "box.local", "host.docker.internal:8000", "errander.jobs.svc"),
    *("errander.jobs.svc.cluster.local", ""),
]
STRANGE = [
    *("evil.example", "evil.example:8000", "127.0.0.1.evil.example", "localhost.evil.example", "evil.example."),
    *("evil-local.example", "[evil.example]", "1.2.3.4.5", "local.svc.example", "a.notlocal"),
]
NAMED = "jobs.example.org, *.Example.COM"


def settings(**changes: object) -> ApiSettings:
    return settings_for("postgresql://nowhere/none", "redis://nowhere", **changes)


async def asked(chosen: ApiSettings, host: str, path: str = "/v1/version", method: str = "GET") -> httpx.Response:
    transport = httpx.ASGITransport(create_app(chosen))
    async with httpx.AsyncClient(transport=transport, base_url="http://test") as client:
        return await client.request(method, path, headers={"Host": host})


@pytest.mark.parametrize("host", LOCAL)
async def test_a_local_name_needs_no_leave(host: str) -> None:
    assert (await asked(settings(), host)).status_code == 200
    assert (await asked(settings(allowed_hosts=NAMED), host)).status_code == 200


@pytest.mark.parametrize("host", STRANGE)
async def test_without_credentials_a_name_of_the_public_dns_is_misdirected(host: str) -> None:
    for path, method in (("/v1/version", "GET"), ("/docs", "HEAD"), ("/v1/jobs", "POST"), ("/healthz", "GET")):
        answer = await asked(settings(), host, path, method)
        assert answer.status_code == 421
        if method != "HEAD":
            found = problem(answer, "misdirected-request", 421)
            assert "ERRANDER_ALLOWED_HOSTS" in found["detail"]


async def test_names_are_allowed_one_by_one_or_all_below_one() -> None:
    chosen = settings(allowed_hosts=NAMED)
    for host in ("jobs.example.org", "JOBS.example.org:443", "a.example.com", "a.b.example.com"):
        assert (await asked(chosen, host)).status_code == 200, host
    for host in ("example.org", "x.jobs.example.org", "example.com", "badexample.com"):
        assert (await asked(chosen, host)).status_code == 421, host
    assert (await asked(settings(allowed_hosts="*"), "evil.example")).status_code == 200


async def test_with_credentials_there_is_no_list_unless_one_is_made() -> None:
    required = {"auth": "required", "jwt_secret": "0123456789abcdef0123456789abcdef"}
    assert (await asked(settings(**required), "evil.example")).status_code == 200
    assert (await asked(settings(**required, allowed_hosts=NAMED), "evil.example")).status_code == 421
    assert (await asked(settings(**required, allowed_hosts=NAMED), "jobs.example.org")).status_code == 200


@pytest.mark.parametrize(
    "text", ["https://a.example", "a.example:443", "a.*.example", "*example.org", "a b", "a..b", "."]
)
def test_what_is_no_name_is_refused_at_start(text: str) -> None:
    with pytest.raises(ValidationError, match="is no name of a host"):
        settings(allowed_hosts=f"localhost,{text}")
