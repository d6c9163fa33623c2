"""The keys of an issuer: which count, and how often they are asked for."""

import asyncio
import contextlib
import gzip
from collections.abc import Awaitable, Callable, Mapping
from typing import Any

import jwt
import pytest
from cryptography.hazmat.primitives.asymmetric import ec, rsa

from service.auth import jwks
from service.auth.jwks import FIRST_PATIENCE_SECONDS, FRESH_SECONDS, PATIENCE_SECONDS, KeySet, UnknownKey, usable
from service.http.problems import Problem


def ec_key(kid: str | None, **more: Any) -> dict[str, Any]:
    made = jwt.algorithms.ECAlgorithm(jwt.algorithms.ECAlgorithm.SHA256).to_jwk(
        ec.generate_private_key(ec.SECP256R1()).public_key(), as_dict=True
    )
    return dict(made) | ({} if kid is None else {"kid": kid}) | more


def rsa_key(kid: str, bits: int) -> dict[str, Any]:
    key = rsa.generate_private_key(65537, bits).public_key()
    return dict(jwt.algorithms.RSAAlgorithm.to_jwk(key, as_dict=True)) | {"kid": kid}


class Issuer:
    """Publishes what a test puts there, and counts who asks."""

    def __init__(self, *listed: dict[str, Any]) -> None:
        self.listed = list(listed)
        self.asked = 0
        self.fails = False
        self.now = 0.0
        self.asked_again = asyncio.Event()

    async def fetch(self) -> Mapping[str, Any]:
        self.asked += 1
        if self.asked > 1:
            self.asked_again.set()
        await asyncio.sleep(0)
        if self.fails:
            raise OSError("unreachable")
        return {"keys": self.listed}

    def key_set(self) -> KeySet:
        return KeySet(self.fetch, clock=lambda: self.now)


def test_only_public_keys_for_signatures_count() -> None:
    secret = {"kty": "oct", "k": "c2VjcmV0", "kid": "shared", "alg": "HS256"}
    found = usable(
        {
            "keys": [
                ec_key("good"),
                ec_key("enc", use="enc"),
                secret,
                rsa_key("small", 1024),
                rsa_key("large", 2048),
                {"kty": "EC", "kid": "broken"},
                "no object",
            ]
        }
    )
    assert set(found) == {"good", "large"}


@pytest.mark.parametrize(
    "odd",
    [
        {"kid": ["a"]},
        {"kid": {"a": 1}},
        {"kid": 7},
        {"kid": "none", "alg": "none"},
        {"kid": "alg", "alg": ["ES256"]},
        {"kid": "crv", "crv": []},
        {"kid": "x", "x": 5},
    ],
)
def test_an_odd_key_does_not_cost_the_others(odd: dict[str, Any]) -> None:
    assert set(usable({"keys": [ec_key("broken") | odd, ec_key("good")]})) == {"good", None}


async def test_whatever_a_fetch_raises_the_last_good_set_stays() -> None:
    issuer = Issuer(ec_key("a"))

    async def fetch() -> Mapping[str, Any]:
        document = await issuer.fetch()
        if issuer.asked > 1:
            raise RecursionError("nested too deep")
        return document

    now = 0.0
    keys = KeySet(fetch, clock=lambda: now)
    await keys.key("a")
    now = PATIENCE_SECONDS
    with pytest.raises(UnknownKey):
        await keys.key("b")
    assert issuer.asked == 2
    assert (await keys.key("a")).key_id == "a"


async def publishing(write: Callable[[asyncio.StreamWriter], Awaitable[None]]) -> tuple[asyncio.Server, str]:
    """A server that answers every request with what `write` writes, and its address."""

    async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with contextlib.suppress(ConnectionError):
            request = await reader.readuntil(b"\r\n\r\n")
            assert b"accept-encoding: identity" in request.lower()
            await write(writer)
        writer.close()

    server = await asyncio.start_server(answer, "127.0.0.1", 0)
    return server, f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}/keys"


async def test_a_fetch_ends_in_time_however_an_issuer_drips(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(jwks, "FETCH_SECONDS", 0.4)

    async def drip(writer: asyncio.StreamWriter) -> None:
        writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: 1000\r\n\r\n")
        for _ in range(100):
            writer.write(b" ")
            await writer.drain()
            await asyncio.sleep(0.05)

    server, url = await publishing(drip)
    async with server, asyncio.timeout(3):
        with pytest.raises(TimeoutError):
            await jwks.fetch_from(url)()


async def test_a_set_is_measured_before_it_is_unpacked() -> None:
    packed = gzip.compress(b" " * (10 * jwks.LARGEST) + b'{"keys": []}')
    assert len(packed) < jwks.LARGEST / 10

    async def bomb(writer: asyncio.StreamWriter) -> None:
        writer.write(b"HTTP/1.1 200 OK\r\nContent-Encoding: gzip\r\nContent-Length: %d\r\n\r\n" % len(packed))
        writer.write(packed)
        await writer.drain()

    async def plain(writer: asyncio.StreamWriter) -> None:
        writer.write(b'HTTP/1.1 200 OK\r\nContent-Length: 12\r\n\r\n{"keys": []}')
        await writer.drain()

    server, url = await publishing(plain)
    async with server:
        assert await jwks.fetch_from(url)() == {"keys": []}
    server, url = await publishing(bomb)
    async with server:
        with pytest.raises(ValueError, match=r"codec|JSON|Expecting"):
            await jwks.fetch_from(url)()


def test_a_key_without_an_id_counts_where_it_is_the_only_one() -> None:
    assert set(usable({"keys": [ec_key(None)]})) == {None}
    assert set(usable({"keys": [ec_key("a")]})) == {"a", None}
    assert set(usable({"keys": [ec_key(None), ec_key("a")]})) == {"a"}


@pytest.mark.parametrize("document", [{}, {"keys": {}}, [], "x"])
def test_what_is_no_key_set_is_refused(document: Any) -> None:
    with pytest.raises(ValueError, match="list `keys`"):
        usable(document)


async def test_a_set_is_fetched_once_and_again_when_it_is_old() -> None:
    issuer = Issuer(ec_key("a"))
    keys = issuer.key_set()
    await asyncio.gather(*(keys.key("a") for _ in range(50)))
    assert issuer.asked == 1
    issuer.now = FRESH_SECONDS + 1
    await keys.key("a")
    assert issuer.asked == 1, "answered with what is there"
    await issuer.asked_again.wait()
    await asyncio.gather(*(keys.key("a") for _ in range(50)))
    assert issuer.asked == 2


async def test_a_new_key_is_found_and_invented_ids_do_not_become_requests() -> None:
    issuer = Issuer(ec_key("a"))
    keys = issuer.key_set()
    await keys.key("a")
    issuer.listed.append(ec_key("b"))
    for number in range(100):
        with pytest.raises(UnknownKey):
            await keys.key(f"invented-{number}")
    assert issuer.asked == 1
    issuer.now = PATIENCE_SECONDS
    assert (await keys.key("b")).key_id == "b"
    for number in range(100):
        with pytest.raises(UnknownKey):
            await keys.key(f"invented-{number}")
    assert issuer.asked == 2


async def test_a_key_that_was_withdrawn_is_unknown_after_the_next_fetch() -> None:
    issuer = Issuer(ec_key("a"), ec_key("b"))
    keys = issuer.key_set()
    await keys.key("a")
    del issuer.listed[0]
    issuer.now = PATIENCE_SECONDS
    with pytest.raises(UnknownKey):
        await keys.key("other")
    with pytest.raises(UnknownKey):
        await keys.key("a")


async def test_the_last_good_set_stays_while_the_issuer_is_away() -> None:
    issuer = Issuer(ec_key("a"))
    keys = issuer.key_set()
    await keys.key("a")
    issuer.fails = True
    issuer.now = FRESH_SECONDS * 10
    assert (await keys.key("a")).key_id == "a"
    await issuer.asked_again.wait()
    issuer.fails, issuer.listed = False, []  # an empty set is no good set
    issuer.now *= 2
    assert (await keys.key("a")).key_id == "a"
    await keys.close()


async def test_without_any_set_the_answer_is_unavailable_and_asked_for_again_soon() -> None:
    issuer = Issuer(ec_key("a"))
    issuer.fails = True
    keys = issuer.key_set()
    for _ in range(20):
        with pytest.raises(Problem) as refused:
            await keys.key("a")
        assert refused.value.code == "unavailable"
    assert issuer.asked == 1
    issuer.fails = False
    issuer.now = FIRST_PATIENCE_SECONDS
    assert (await keys.key("a")).key_id == "a"
