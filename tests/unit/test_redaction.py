"""Secrets in log lines: masked by the name of their field and by their form, in every format and from every logger."""

import json
import logging
import string
import time
from collections.abc import Callable, Iterator
from typing import Any

import pytest
import structlog
from hypothesis import given
from hypothesis import strategies as st

from workers import logs
from workers.redaction import MASK, one_line, redact, redacted

KEY = f"errander_Ab12Cd34_{'x9' * 16}_0Zz9Qq"
TOKEN = "eyJhbGciOiJIUzI1NiJ9.eyJzdWIiOiJtZSIsImV4cCI6MX0.c2lnbmF0dXJlLXRoYXQtaXMtc2VjcmV0"


@pytest.fixture
def written(capsys: pytest.CaptureFixture[str]) -> Iterator[Callable[[str, str], Callable[[], str]]]:
    """Sets logging up as a process does; the result reads what was written since."""
    root = logging.getLogger()
    handlers, level = root.handlers[:], root.level
    quiet = {name: logging.getLogger(name).level for name in ("alembic", "httpcore", "httpx", "sqlalchemy")}

    def set_up(log_format: str, log_level: str = "debug") -> Callable[[], str]:
        logs.set_up(log_format, log_level)
        return lambda: capsys.readouterr().err

    yield set_up
    structlog.reset_defaults()
    root.handlers[:] = handlers
    root.setLevel(level)
    for name, before in quiet.items():
        logging.getLogger(name).setLevel(before)


def passed(**fields: Any) -> Any:
    """An event after the processor."""
    return redact(None, "info", {"event": "x", **fields})


@pytest.mark.parametrize(
    "name",
    [
        *("authorization", "Authorization", "proxy-authorization", "cookie", "Set-Cookie", "token", "access_token"),
        *(
            "password",
            "db_password",
            "secret",
            "client_secret",
            "ERRANDER_JWT_SECRET",
            "pepper",
            "api_key",
            "X-Api-Key",
        ),
    ],
)
def test_a_field_is_masked_by_its_name_however_deep(name: str) -> None:
    assert passed(**{name: "hunter2"})[name] == MASK
    assert passed(headers=[{name: "hunter2"}])["headers"][0][name] == MASK
    assert passed(a={"b": {name: {"c": 1}}})["a"]["b"][name] == MASK
    assert passed(**{name: 12345})[name] == MASK
    assert passed(**{name: None})[name] is None


def test_what_is_no_secret_stays_as_it_is() -> None:
    fields = {
        "job_id": "0199-x",
        "queue": "gpu:high",
        "seconds": 1.5,
        "jobs": ["a", "b"],
        "done": True,
        "tokens": 12,
        "key_id": "Ab12Cd34",
        "detail": {"n": None},
        "path": "/v1/jobs/x:cancel",
        "url": "https://h.example:8000/a@b?next=1",
        "error": "[Errno 111] Connect call failed ('127.0.0.1', 5432); unexpected token: x",
        "hint": "give it basic authentication, or a bearer token",
    }
    assert passed(**fields) == {"event": "x", **fields}


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        (KEY, "errander_Ab12Cd34_***"),
        (f"Authorization: Bearer {KEY}", "errander_Ab12Cd34_***"),
        (TOKEN, "***jwt"),
        ("whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw", "whsec_***"),
        ("postgresql://u:hunter2@h/d", "postgresql://u:***@h/d"),
        ("postgresql://u:hun@ter2@h:5432/d?sslmode=require", "postgresql://u:***@h:5432/d?sslmode=require"),
        ("redis://:hunter2@h:6379/0 is away", "redis://:***@h:6379/0 is away"),
        ("host=h password=hunter2 port=1", "host=h password=*** port=1"),
        ("postgresql://h/d?user=u&password=hunter2&x=1", "postgresql://h/d?user=u&password=***&x=1"),
        ("{'password': 'hunter2', 'n': 1}", "{'password': ***, 'n': 1}"),
        ('{"client_secret": "hunter2"}', '{"client_secret": ***}'),
        ("{'password': b'hunter2', 'n': 1}", "{'password': ***, 'n': 1}"),
        ('{"token": ["a", "hunter2"], "n": 1}', '{"token": ***, "n": 1}'),
        ('{"token": {"a": [\n"hunter2"]}, "n": 1}', '{"token": ***, "n": 1}'),
        ("{'secret': SecretStr('hunter2'), 'n': 1}", "{'secret': ***, 'n': 1}"),
        ("Settings(pool=4, token=['hunter2'], n=1)", "Settings(pool=4, token=***, n=1)"),
        ("Settings(api_key=b'hunter2', n=1)", "Settings(api_key=***, n=1)"),
        (r'{"password": "a\"hunter2", "n": 1}', '{"password": ***, "n": 1}'),
        (r'{"password": "hunter2\\", "n": 1}', '{"password": ***, "n": 1}'),
        (r'"{\"password\": \"a\\\"hunter2\", \"n\": 1}"', r"{\"password\": ***, \"n\": 1}"),
        ("password='a\\'hunter2' port=1", "password=*** port=1"),
        ('{"password": "hunter2\n', '{"password": ***\n'),
        ("if token == 'hunter2':", "if token == ***:"),
        ("    token = made(\nValueError: hm", "    token = ***\nValueError: hm"),
        ("postgres://u:hun'ter2@h/d", "postgres://u:***@h/d"),
        ("postgres://u:1234/hunter2@h/d", "postgres://u:***@h/d"),
        ("https://me@corp:hunter2@h/d", "https://me@corp:***@h/d"),
        ("['redis://h:6379','me@h']", "['redis://h:6379','me@h']"),
        ("x://a:b/c,redis://u:hunter2@h y:z@h", "x://a:***@h y:z@h"),
        (f"x://{'u' * 300}:{'p' * 600}hunter2@h/d", ":***@h/d"),
        (f"my-{TOKEN}", "my-***jwt"),
        (f"a.{TOKEN}.b", "a.***jwt.b"),
        (f"eyJ-{TOKEN}", "***jwt"),
        (f"{'x' * 100}_token=hunter2", "_token=***"),
        ("{'the token': 'hunter2'}", "{'the token': ***}"),
        ("GET /x?api_key=hunter2 HTTP/1.1", "GET /x?api_key=*** HTTP/1.1"),
        ("authorization: Basic aHVudGVyMjpodW50ZXIy", "Basic ***"),
        ("-----BEGIN EC PRIVATE KEY-----\nhunter2\n-----END EC PRIVATE KEY-----", "***"),
    ],
)
def test_a_secret_is_known_by_its_form_in_any_text(text: str, shown: str) -> None:
    found = redacted(f"before {text} after")
    assert shown in found
    assert found.startswith("before ")
    assert found.endswith(" after")
    for secret in ("hunter2", "hun@ter2", "hun'ter2", "x9x9", "c2lnbmF0dXJl", "MfKQ9r8", "aHVudGVy"):
        assert secret not in found


WORDS = st.text(string.ascii_letters + string.digits + " .,:/=&'\"@{}-_\n", max_size=40)


@given(WORDS, WORDS, st.sampled_from([KEY, TOKEN]))
def test_a_key_or_a_token_survives_nowhere(before: str, after: str, secret: str) -> None:
    # beside a letter or digit it would be a part of another word, and not what we hand out
    line = redacted(f"{before} {secret} {after}")
    assert secret not in line
    assert "x9x9" not in line
    assert TOKEN.rpartition(".")[2] not in line


@given(st.text(string.ascii_letters + string.digits + "!$%^*-_+:@", min_size=8, max_size=40), st.booleans())
def test_a_password_of_an_address_survives_nowhere(password: str, with_user: bool) -> None:
    secret = f"Qx{password}xQ"
    line = redacted(f"cannot reach postgresql://{'me' if with_user else ''}:{secret}@db.example:5432/app, trying again")
    assert secret not in line
    assert "@db.example:5432/app, trying again" in line


LONG = 32 * 1024


def cost(text: str) -> float:
    """Seconds of this thread's own that it takes: what else runs on the machine does not count."""
    started = time.thread_time()
    redacted(text)
    return time.thread_time() - started


@pytest.fixture(scope="module")
def plain_cost() -> float:
    """Of a text that every pattern has to look at, and none finds anything in."""
    return min(cost("plain words, " * (LONG // 13) + " :// = eyJ") for _ in range(3))


@pytest.mark.parametrize(
    "part",
    [
        *("a", "a.b-", "a-", "token.", "'", "x=", "'a", " ", "\\", "token", "token ", "a+"),
        *("eyJ", "eyJaaaaa-", "eyJaaaaa.", "eyJaaaaa.aa"),
        *("://", "://:", "x://", "x://:", "x://:'", "x://a:b ", "http://a:", "http://a:1", "x://u:p@", "x://u:p' @"),
        *(
            '"token": [\n',
            "token=(",
            "token='",
            "'pwd':['",
            "'token':'a'",
            "token='a'",
            "token=[a]",
            "token=[" + "'" * 8,
        ),
        *("\\'token\\':\\'", "errander_", "whsec_", "Bearer ", "basic aaaa", "-----BEGIN PRIVATE KEY-----"),
    ],
)
@pytest.mark.parametrize("end", ["", "':", "token="])
def test_no_text_makes_it_slow(plain_cost: float, part: str, end: str) -> None:
    text = part * (LONG // len(part)) + end
    assert any(cost(text) < 8 * plain_cost for _ in range(3))


@pytest.mark.parametrize("part", ["'token':'a'", "token='a'", "token=[a]", "token=[" + "'" * 8, "eyJaaaaa-", "x://:'"])
def test_it_takes_time_in_proportion_to_the_text(part: str) -> None:
    short = part * (LONG // len(part))
    assert any(cost(short * 32) < 64 * cost(short) for _ in range(3))


@pytest.mark.parametrize("log_format", ["console", "json"])
def test_every_logger_and_every_traceback_passes_through(
    written: Callable[[str], Callable[[], str]], log_format: str
) -> None:
    read = written(log_format)

    def fails(url: str) -> None:
        raise ConnectionError(f"cannot reach {url}")

    try:
        fails("postgresql://u:hunter2@h/d")
    except ConnectionError:
        structlog.get_logger("errander.test").exception("it.failed", authorization=KEY, detail={"text": f"got {TOKEN}"})
        logging.getLogger("other").exception("with %s", KEY)
    logging.getLogger("other").warning("redis://:%s@h", "hunter2")
    found = read()
    assert found.count("ConnectionError: cannot reach postgresql://u:***@h/d") == 2
    assert "errander_Ab12Cd34_***" in found
    assert "it.failed" in found
    for secret in ("hunter2", KEY, TOKEN):
        assert secret not in found


def test_the_console_shows_no_local_variables_even_where_rich_is_installed(
    written: Callable[[str], Callable[[], str]],
) -> None:
    read = written("console")

    def fails(payload: dict[str, str]) -> None:
        raise ValueError(len(payload))

    try:
        fails({"card": f"4111-{len('1111')}"})
    except ValueError:
        structlog.get_logger("errander.test").exception("it.failed")
    found = read()
    assert "ValueError: 1" in found
    assert "4111-4" not in found


@pytest.mark.parametrize("log_format", ["console", "json"])
def test_what_somebody_sends_begins_no_line_of_its_own(
    written: Callable[[str], Callable[[], str]], log_format: str
) -> None:
    read = written(log_format)
    forged = "x\r\n2026-01-01T00:00:00Z [info] admin.logged_in\x1b[2K\x9b2K\u2028z"
    log = structlog.get_logger("errander.test")
    log.info("request.answered", path=forged, nested=[forged])
    logging.getLogger("uvicorn.error").warning("refused %s", forged)
    try:
        int(forged)
    except ValueError:
        log.exception("it.failed")
    found = read()
    assert "\x1b[2K" not in found
    assert "\x9b" not in found
    assert "\r" not in found
    lines = found.removesuffix("\n").split("\n")
    if log_format == "json":
        assert [json.loads(line)["event"][:8] for line in lines] == ["request.", "refused ", "it.faile"]
    else:
        assert not [line for line in lines if line.startswith("2026-01-01")]
        assert len([line for line in lines if not line.startswith("    ")]) == 3


def test_an_object_that_cannot_be_shown_costs_no_line() -> None:
    class Broken:
        def __repr__(self) -> str:
            raise RuntimeError("no")

    assert passed(what=Broken())["what"] == "<Broken>"
    assert passed(what=ValueError(KEY))["what"] == "ValueError('errander_Ab12Cd34_***')"
    deep: list[Any] = ["hunter2"]
    for _ in range(100):
        deep = [deep]
    assert "hunter2" not in json.dumps(passed(deep=deep))


def test_the_libraries_that_write_urls_and_rows_are_quiet_at_debug(
    written: Callable[[str], Callable[[], str]],
) -> None:
    read = written("json")
    for name in ("httpx", "httpcore.http11", "sqlalchemy.engine.Engine", "alembic.runtime"):
        logging.getLogger(name).info("HTTP Request: GET https://h/?q=private")
    assert read() == ""


def test_one_line_leaves_plain_text_alone() -> None:
    event = {"event": "request.answered", "path": "/v1/jobs", "n": 1, "names": ["ä", "日本"]}
    assert one_line(None, "info", dict(event)) == event
