"""The guard in one process: whom wrong secrets, outages and the crowd keep out, and whom they do not."""

import asyncio
import time
from collections import Counter
from collections.abc import AsyncIterator, Callable
from typing import Any

import jwt
import pytest

from db import keys as kept_keys
from db.engine import Database, Link
from db.errors import Unavailable
from db.keys import KeyRecord
from service.auth import key_records, keys, refusals
from service.auth.guard import Guard
from service.auth.jwks import KeySet
from service.auth.key_records import KEY_SECONDS, TURNS
from service.auth.principal import ANYONE, Principal
from service.auth.scopes import Scope
from service.auth.tokens import KEY_CLAIM, LEEWAY, Tokens
from service.http.problems import Problem
from service.limits.rate_limits import RateLimits
from service.settings import ApiSettings
from tests.auth.conftest import MakeKey
from tests.fixtures.logs import captured
from tests.fixtures.waiting import eventually

SECRET = b"2f1c9a4be07d45c6a3f8d1b26e5c90aa"


class Scene:
    """A guard that lets three wrong secrets pass, and what its looks find."""

    def __init__(self, database: Database, settings: ApiSettings, monkeypatch: pytest.MonkeyPatch) -> None:
        self.now = 0.0
        self.looks = 0
        self.under_way = 0
        self.most_under_way = 0
        self.is_away = False
        self.go_on = asyncio.Event()
        self.go_on.set()
        self.limits = RateLimits(settings.model_copy(update={"rate_limit_auth": "3/minute"}))
        self.guard = self.another_guard(database.link)
        self._find = kept_keys.find
        monkeypatch.setattr(kept_keys, "find", self.find)

    def another_guard(self, link: Link, tokens: Tokens | None = None) -> Guard:
        return Guard(link, is_off=False, limits=self.limits, tokens=tokens, clock=lambda: self.now)

    async def find(self, link: Link, key_id: str) -> KeyRecord | None:
        self.looks += 1
        self.under_way += 1
        self.most_under_way = max(self.most_under_way, self.under_way)
        try:
            await self.go_on.wait()
            if self.is_away:
                raise Unavailable("PostgreSQL is away")
            return await self._find(link, key_id)
        finally:
            self.under_way -= 1

    async def answer(self, text: str, address: str = "192.0.2.1", guard: Guard | None = None) -> str:
        """`ok`, or the code of the refusal."""
        request = {"headers": [(b"authorization", f"Bearer {text}".encode())], "client": (address, 1)}
        try:
            await (guard or self.guard).admit(request, Scope.JOBS_READ)
        except Problem as refusal:
            return refusal.code
        except Unavailable:
            return "unavailable"
        return "ok"


@pytest.fixture
async def scene(database: Database, settings: ApiSettings, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[Scene]:
    found = Scene(database, settings, monkeypatch)
    yield found
    found.go_on.set()
    await found.guard.stop()
    await found.limits.stop()


def wrong(key: str) -> str:
    """A key of the same id with another secret."""
    body = f"errander_{key.split('_')[1]}_{keys.make().text.split('_')[2]}"
    return f"{body}_{keys._checksum(body)}"


async def test_who_guesses_at_one_key_is_shut_out_of_it_before_a_look(scene: Scene) -> None:
    invented = keys.make().text
    answers = [await scene.answer(wrong(invented)) for _ in range(5)]
    assert answers == ["unauthenticated"] * 3 + ["quota-exceeded"] * 2
    assert scene.looks == 3
    assert await scene.answer(invented, "192.0.2.2") == "unauthenticated", "another network has guesses of its own"
    assert await scene.answer(keys.make().text) == "unauthenticated", "and so has another key"
    scene.limits.guesses._clock = lambda: time.monotonic() + 61
    assert await scene.answer(invented) == "unauthenticated"


async def test_a_burst_of_guesses_passes_no_more_than_the_limit_and_costs_one_look(
    scene: Scene, make_key: MakeKey
) -> None:
    for key in (await make_key("jobs:read"), keys.make().text):
        scene.looks = 0
        answers = Counter(await asyncio.gather(*(scene.answer(wrong(key)) for _ in range(100))))
        assert answers == {"unauthenticated": 3, "quota-exceeded": 97}
        assert scene.looks == 1


async def test_a_key_that_was_seen_is_let_in_whatever_others_do(scene: Scene, make_key: MakeKey) -> None:
    key, another = await make_key("jobs:read"), await make_key("jobs:read")
    assert await scene.answer(key) == "ok"
    assert {await scene.answer(wrong(key)) for _ in range(9)} == {"unauthenticated", "quota-exceeded"}
    assert await scene.answer(key) == "ok"
    scene.now += KEY_SECONDS  # what was known is not believed any more
    assert await scene.answer(key) == "ok"
    scene.guard.forget()
    assert await scene.answer(key) == "ok"
    scene.now += KEY_SECONDS
    scene.is_away = True
    assert await scene.answer(key) == "unavailable"
    scene.is_away = False
    assert await scene.answer(key) == "ok"
    assert await scene.answer(another) == "ok", "a key that was not seen, from the same address"


async def test_an_outage_is_nobodys_fault(scene: Scene, make_key: MakeKey) -> None:
    key = await make_key("jobs:read")
    scene.is_away = True
    assert {await scene.answer(text) for text in [key, wrong(key)] * 5} == {"unavailable"}
    scene.is_away = False
    assert await scene.answer(key) == "ok"
    assert await scene.answer(wrong(key)) == "unauthenticated"


async def test_tokens_are_never_counted(scene: Scene, database: Database) -> None:
    now = int(time.time())
    said = {"sub": "a", "iss": "errander", "aud": "errander", "iat": now, "exp": now + 60, "scope": "jobs:read"}
    good = jwt.encode(said, SECRET)
    guard = scene.another_guard(
        database.link, Tokens(issuer="errander", audience="errander", longest=3600, secret=SECRET)
    )
    for number in range(9):
        assert await scene.answer(jwt.encode(said | {"aud": f"x{number}"}, SECRET), guard=guard) == "unauthenticated"
        assert await scene.answer("wrong", guard=guard) == "unauthenticated"
        assert await scene.answer("errander_mistyped", guard=guard) == "unauthenticated"
    assert await scene.answer(good, guard=guard) == "ok"
    assert scene.looks == 0

    async def away() -> dict[str, Any]:
        raise OSError("unreachable")

    guard.tokens = Tokens(issuer="errander", audience="errander", longest=3600, keys=KeySet(away))
    guard.forget()
    assert {await scene.answer(good, guard=guard) for _ in range(9)} == {"unavailable"}


async def test_ids_that_nobody_knows_take_few_connections_and_keep_no_known_key_waiting(
    scene: Scene, make_key: MakeKey
) -> None:
    key = await make_key("jobs:read")
    assert await scene.answer(key) == "ok"
    scene.now += KEY_SECONDS
    scene.go_on.clear()
    flood = [asyncio.create_task(scene.answer(keys.make().text)) for _ in range(50)]
    await eventually(lambda: scene.under_way == TURNS)
    asked = asyncio.create_task(scene.answer(key))
    await eventually(lambda: scene.under_way == TURNS + 1)  # it does not queue behind them
    scene.go_on.set()
    assert await asked == "ok"
    assert set(await asyncio.gather(*flood)) == {"unauthenticated"}
    assert scene.most_under_way == TURNS + 1


async def test_who_would_wait_too_long_for_a_look_is_told_so(scene: Scene, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(key_records, "MOST_UNSEEN", TURNS + 2)
    monkeypatch.setattr(key_records, "CLIENT_TIMEOUT", 0.05)
    scene.go_on.clear()
    looking = [asyncio.create_task(scene.answer(keys.make().text)) for _ in range(TURNS)]
    await eventually(lambda: scene.under_way == TURNS)
    answers = [asyncio.create_task(scene.answer(keys.make().text)) for _ in range(5)]
    async with asyncio.timeout(5):
        assert await asyncio.gather(*answers) == ["unavailable"] * 5
    assert not any(look.done() for look in looking), "they have their turn, and a look has a limit of its own"
    scene.go_on.set()
    assert await asyncio.gather(*looking) == ["unauthenticated"] * TURNS
    assert await scene.answer(keys.make().text) == "unauthenticated", "there is room again"


async def test_more_ids_than_may_wait_are_refused_at_once(scene: Scene, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(key_records, "MOST_UNSEEN", TURNS + 2)
    scene.go_on.clear()
    waiting = [asyncio.create_task(scene.answer(keys.make().text)) for _ in range(TURNS + 2)]
    await eventually(lambda: scene.under_way == TURNS)
    async with asyncio.timeout(2):
        assert await scene.answer(keys.make().text) == "unavailable"
    assert not any(one.done() for one in waiting)
    scene.go_on.set()
    assert await asyncio.gather(*waiting) == ["unauthenticated"] * (TURNS + 2)


async def test_what_lasts_ends_when_requests_with_its_token_do(scene: Scene, make_key: MakeKey) -> None:
    """After the leeway: a stream that is opened in it must not end at once, and be opened again and again."""
    scene.guard.tokens = Tokens(issuer="errander", audience="errander", longest=3600, secret=SECRET)
    now = int(time.time())
    said = {"sub": "a", "iss": "errander", "aud": "errander", "iat": now - 60, "exp": now - 5, "scope": "jobs:read"}
    for more in ({}, {KEY_CLAIM: (await make_key("jobs:read")).split("_")[1]}):
        principal = await principal_of(scene, jwt.encode(said | more, SECRET))
        assert (principal.expires_at, principal.ends_at) == (now - 5, now - 5 + LEEWAY)
        assert await scene.guard.still_good(principal)
    soon = await make_key("jobs:read", expires_in=5)
    said = {**said, "exp": now, KEY_CLAIM: soon.split("_")[1]}
    principal = await principal_of(scene, jwt.encode(said, SECRET))
    assert principal.ends_at is not None
    assert principal.ends_at < now + 10, "no longer than its key"


async def principal_of(scene: Scene, key: str) -> Principal:
    return await scene.guard.authenticated({"headers": [(b"authorization", f"Bearer {key}".encode())]})


async def test_whether_a_credential_is_still_good_is_asked_cheaply_and_answered_soon(
    scene: Scene, make_key: MakeKey, database: Database
) -> None:
    assert await scene.guard.still_good(ANYONE)
    assert await scene.guard.still_good(Principal("jwt:a", "default", frozenset(), expires_at=time.time() + 5))
    assert not await scene.guard.still_good(Principal("jwt:a", "default", frozenset(), expires_at=time.time() - 1))
    key = await make_key("jobs:read")
    principal = await principal_of(scene, key)
    assert all(await asyncio.gather(*(scene.guard.still_good(principal) for _ in range(50))))
    assert scene.looks == 1
    scene.now += KEY_SECONDS
    assert all(await asyncio.gather(*(scene.guard.still_good(principal) for _ in range(50))))
    assert scene.looks == 2
    await kept_keys.revoke(database.link, "default", key.split("_")[1])
    scene.now += KEY_SECONDS
    scene.is_away = True
    assert await scene.guard.still_good(principal), "nothing is known to the contrary"
    scene.is_away = False
    assert not await scene.guard.still_good(principal)


async def test_a_principal_knows_when_its_key_ends(scene: Scene, make_key: MakeKey, database: Database) -> None:
    key = await make_key("jobs:read")
    assert (await principal_of(scene, key)).expires_at is None
    for seconds in (3600, 60):
        record = await kept_keys.retire(database.link, "default", key.split("_")[1], seconds=seconds)
        scene.guard.forget()
        assert record is not None
        assert record.retires_at is not None
        assert (await principal_of(scene, key)).expires_at == record.retires_at.timestamp()
    short = await principal_of(scene, await make_key("jobs:read", expires_in=30))
    assert short.expires_at is not None
    assert 0 < short.expires_at - time.time() < 60


@pytest.mark.parametrize("kind", ["key", "token"])
async def test_a_believed_credential_is_believed_no_longer_than_its_key(
    scene: Scene, make_key: MakeKey, database: Database, kind: str
) -> None:
    """Whatever was looked at first: another secret of the id, or the key itself behind a token."""
    key = await make_key("jobs:read")
    key_id = key.split("_")[1]
    tokens = Tokens(issuer="errander", audience="errander", longest=3600, secret=SECRET)
    token = tokens.issue(subject="a", tenant="default", scopes=["jobs:read"], key_id=key_id, seconds=60)
    scene.guard.tokens = tokens
    await scene.answer(wrong(key))
    await kept_keys.revoke(database.link, "default", key_id)
    scene.now += KEY_SECONDS - 1
    presented: Callable[[], Any] = lambda: scene.answer(key if kind == "key" else token)  # noqa: E731
    assert await presented() == "ok"
    scene.now += 1
    assert await presented() == "unauthenticated"


async def test_refusals_are_told_with_address_and_key_id_and_never_a_secret(scene: Scene, make_key: MakeKey) -> None:
    key, poor = await make_key("jobs:read"), await make_key("jobs:submit")
    with captured(refusals) as lines:
        forged = wrong(key)
        for _ in range(4):
            await scene.answer(forged)
        await scene.answer(poor)
        await scene.answer("no key at all")
    told = [line for line in lines if line["event"] == "auth.refused"]
    assert {line["log_level"] for line in told} == {"info"}
    assert Counter(line["code"] for line in told) == {"unauthenticated": 4, "quota-exceeded": 1, "forbidden": 1}
    assert {line["address"] for line in told} == {"192.0.2.1"}
    assert [line.get("key_id") for line in told] == [key.split("_")[1]] * 4 + [None, None]
    assert told[4]["actor"] == f"key:{poor.split('_')[1]}"
    assert forged.split("_")[2] not in repr(told)
