"""JWTs: what is accepted, and a corpus of attacks that are not."""

import base64
import hashlib
import hmac
import json
import time
from collections.abc import AsyncIterator, Callable
from datetime import datetime
from typing import Any

import httpx
import jwt
import pytest
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, rsa
from fastapi import FastAPI
from pydantic import SecretStr

from db.engine import Database
from service.auth.jwks import KeySet
from service.auth.tokens import Tokens
from service.main import create_app
from service.settings import ApiSettings
from tests.api.conftest import running, settings_for
from tests.api.problems import problem
from tests.auth.conftest import SECRET, MakeKey, bearer

RSA = rsa.generate_private_key(65537, 2048)
OTHER_RSA = rsa.generate_private_key(65537, 2048)
EC = ec.generate_private_key(ec.SECP256R1())
ED = ed25519.Ed25519PrivateKey.generate()
PUBLIC_PEM = RSA.public_key().public_bytes(serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo)


def now() -> int:
    """Asked by each test: a suite may take longer than a token lives."""
    return int(time.time())


def claims(**changes: Any) -> dict[str, Any]:
    said = {"sub": "shop", "iss": "errander", "aud": "errander", "iat": now(), "exp": now() + 600, "scope": "jobs:read"}
    return {name: value for name, value in (said | changes).items() if value is not ...}


def signed(said: dict[str, Any], key: Any = SECRET, algorithm: str = "HS256", **headers: Any) -> str:
    return jwt.encode(said, key, algorithm=algorithm, headers=headers)


def part(value: Any) -> str:
    raw = value if isinstance(value, bytes) else json.dumps(value).encode()
    return base64.urlsafe_b64encode(raw).rstrip(b"=").decode()


def by_hand(header: Any, said: Any, secret: bytes = SECRET.encode()) -> str:
    """A token with a right HMAC under whatever header."""
    body = f"{part(header)}.{part(said)}"
    return f"{body}.{part(hmac.digest(secret, body.encode(), hashlib.sha256))}"


HEADER = {"alg": "HS256", "typ": "JWT"}


async def status(api: httpx.AsyncClient, token: str) -> int:
    return (await api.get("/v1/jobs", headers=bearer(token))).status_code


async def test_a_good_token_is_accepted(api: httpx.AsyncClient) -> None:
    assert await status(api, signed(claims())) == 200
    assert await status(api, signed(claims(), typ="at+jwt")) == 200
    assert await status(api, signed(claims(aud=["other", "errander"]))) == 200
    assert await status(api, signed(claims(iat=now() + 20, exp=now() + 40))) == 200, "clocks differ a little"
    assert await status(api, signed(claims(iat=now() - 600, exp=now() - 20))) == 200
    assert await status(api, signed(claims(iat=now() - 0.5, exp=now() + 60.25))) == 200


ATTACKS: dict[str, Callable[[], str]] = {
    "none": lambda: by_hand({"alg": "none", "typ": "JWT"}, claims()),
    "none without signature": lambda: f"{part({'alg': 'none', 'typ': 'JWT'})}.{part(claims())}.",
    "None": lambda: f"{part({'alg': 'nOnE', 'typ': 'JWT'})}.{part(claims())}.",
    "no signature": lambda: signed(claims()).rpartition(".")[0] + ".",
    "two parts": lambda: signed(claims()).rpartition(".")[0],
    "another secret": lambda: signed(claims(), SECRET[::-1]),
    "an empty secret": lambda: by_hand(HEADER, claims(), b""),
    "signature of another": lambda: (
        signed(claims()).rpartition(".")[0] + "." + signed(claims(sub="x")).rpartition(".")[2]
    ),
    "changed claims": lambda: ".".join(
        [signed(claims()).split(".")[0], part(claims(scope="keys:manage")), signed(claims()).split(".")[2]]
    ),
    "another hash": lambda: signed(claims(), SECRET * 2, "HS512"),
    "an asymmetric algorithm": lambda: signed(claims(), RSA, "RS256"),
    "public key as secret": lambda: by_hand({"alg": "HS256", "typ": "JWT"}, claims(), PUBLIC_PEM),
    "an algorithm that is none": lambda: by_hand({"alg": ["HS256"], "typ": "JWT"}, claims()),
    "no algorithm": lambda: by_hand({"typ": "JWT"}, claims()),
    "kid a path": lambda: by_hand(HEADER | {"kid": "../../../../dev/null"}, claims(), b""),
    "kid a statement": lambda: by_hand(HEADER | {"kid": "x' UNION SELECT 'aaa"}, claims(), b"aaa"),
    "kid an object": lambda: by_hand(HEADER | {"kid": {"$ne": 1}}, claims()),
    "brings its key": lambda: by_hand(HEADER | {"jwk": {"kty": "oct", "k": part(b"mine" * 8)}}, claims(), b"mine" * 8),
    "brings an address": lambda: by_hand(HEADER | {"jku": "http://127.0.0.1:1/keys"}, claims(), b"mine" * 8),
    "unknown crit": lambda: by_hand(HEADER | {"crit": ["exp"], "exp": now() + 600}, claims()),
    "empty crit": lambda: by_hand(HEADER | {"crit": []}, claims()),
    "detached payload": lambda: by_hand(HEADER | {"crit": ["b64"], "b64": False}, claims()),
    "no typ": lambda: by_hand({"alg": "HS256"}, claims()),
    "an id token": lambda: by_hand(HEADER | {"typ": "id+jwt"}, claims()),
    "expired": lambda: signed(claims(iat=now() - 600, exp=now() - 40)),
    "from the future": lambda: signed(claims(iat=now() + 300, exp=now() + 600)),
    "not yet": lambda: signed(claims(nbf=now() + 300)),
    "valid too long": lambda: signed(claims(exp=now() + 3601)),
    "valid for ever": lambda: signed(claims(exp=2**63)),
    "valid backwards": lambda: signed(claims(iat=now() + 20, exp=now() + 10)),
    "no exp": lambda: signed(claims(exp=...)),
    "no iat": lambda: signed(claims(iat=...)),
    "no sub": lambda: signed(claims(sub=...)),
    "no iss": lambda: signed(claims(iss=...)),
    "no aud": lambda: signed(claims(aud=...)),
    "another audience": lambda: signed(claims(aud="billing")),
    "an audience that begins like ours": lambda: signed(claims(aud="errander.example")),
    "no audience in the list": lambda: signed(claims(aud=[])),
    "another issuer": lambda: by_hand(HEADER, claims(iss="https://evil.example")),
    "several issuers": lambda: by_hand(HEADER, claims(iss=["errander"])),
    "exp a text": lambda: by_hand(HEADER, claims(exp=str(now() + 600))),
    "exp true": lambda: by_hand(HEADER, claims(exp=True)),
    "exp not finite": lambda: by_hand(HEADER, json.dumps(claims()).replace(str(now() + 600), "Infinity").encode()),
    "iat null": lambda: by_hand(HEADER, claims(iat=None)),
    "sub a number": lambda: by_hand(HEADER, claims(sub=7)),
    "sub empty": lambda: by_hand(HEADER, claims(sub="")),
    "sub with a line break": lambda: by_hand(HEADER, claims(sub="a\nb")),
    "sub very long": lambda: signed(claims(sub="s" * 256)),
    "tenant a list": lambda: by_hand(HEADER, claims(tenant=["a"])),
    "tenant not well formed": lambda: by_hand(HEADER, claims(tenant="a/../b")),
    "scope a list": lambda: by_hand(HEADER, claims(scope=["jobs:read"])),
    "for a key that is not there": lambda: signed(claims(errander_key="AAAAAAAA")),
    "for a key that is a number": lambda: by_hand(HEADER, claims(errander_key=1)),
    "claims a list": lambda: by_hand(HEADER, [claims()]),
    "header a list": lambda: by_hand([HEADER], claims()),
    "header not JSON": lambda: by_hand(b"\xff\xfe", claims()),
    "claims not JSON": lambda: by_hand(HEADER, b"{"),
    "deeply nested": lambda: by_hand(HEADER, b"[" * 3000 + b"]" * 3000),
    "huge": lambda: signed(claims(more="x" * 100_000)),
    "huge header": lambda: by_hand(HEADER | {"more": "x" * 20_000}, claims()),
    "encrypted": lambda: "eyJhbGciOiJkaXIiLCJlbmMiOiJBMjU2R0NNIn0..AAAA.AAAA.AAAA",
    "dots": lambda: "..",
    "words": lambda: "bearer of bad news",
    "not ASCII": lambda: "ey\xff\xfe.\xe9.\xe8",
}


@pytest.mark.parametrize("name", sorted(ATTACKS))
async def test_an_attack_is_refused(api: httpx.AsyncClient, name: str) -> None:
    answer = await api.get("/v1/jobs", headers={b"Authorization": f"Bearer {ATTACKS[name]()}".encode("latin-1")})
    found = problem(answer, "unauthenticated", 401)
    assert answer.headers["www-authenticate"].startswith('Bearer realm="errander", error="invalid_token"')
    assert "scope" not in found
    assert SECRET not in answer.text


async def test_headers_that_carry_no_credential_are_refused(api: httpx.AsyncClient) -> None:
    good = signed(claims())
    for headers in (
        {},
        {"Authorization": "Bearer"},
        {"Authorization": "Bearer "},
        {"Authorization": good},
        {"Authorization": f"Basic {good}"},
        {"Authorization": f"Token {good}"},
        {"Cookie": f"token={good}"},
        {"X-Api-Key": good},
    ):
        answer = await api.get("/v1/jobs", headers=headers)
        problem(answer, "unauthenticated", 401)
        assert answer.headers["www-authenticate"].startswith('Bearer realm="errander"')
    twice = httpx.Headers([("Authorization", f"Bearer {good}"), ("Authorization", f"Bearer {good}")])
    problem(await api.get("/v1/jobs", headers=twice), "unauthenticated", 401)
    problem(await api.get(f"/v1/jobs?token={good}"), "unauthenticated", 401)
    assert (await api.get("/v1/jobs", headers={"Authorization": f"bearer   {good}"})).status_code == 200


async def test_a_token_without_the_scope_is_told_which(api: httpx.AsyncClient) -> None:
    answer = await api.post("/v1/jobs", json={"task": "demo.echo"}, headers=bearer(signed(claims())))
    found = problem(answer, "forbidden", 403)
    assert found["scope"] == "jobs:submit"
    assert "jobs:submit" in found["detail"]
    assert 'error="insufficient_scope", scope="jobs:submit"' in answer.headers["www-authenticate"]
    assert await status(api, signed(claims(scope=...))) == 403
    assert await status(api, signed(claims(scope="openid profile jobs:read"))) == 200
    assert await status(api, signed(claims(scope="viewer"))) == 200, "a role stands for its scopes"


async def test_a_remembered_token_ends_when_it_expires(api: httpx.AsyncClient, monkeypatch: pytest.MonkeyPatch) -> None:
    begin = now()
    token = signed(claims(exp=begin + 100))
    assert await status(api, token) == 200
    monkeypatch.setattr(time, "time", lambda: begin + 131.0)
    assert await status(api, token) == 401


async def test_whoever_must_be_asked_is_asked_first(api: httpx.AsyncClient) -> None:
    """Nothing about a request is looked at, and nothing told, before it is known who asks."""
    for answer in (
        await api.post("/v1/jobs", content=b"{not json"),
        await api.get("/v1/jobs/not-an-id"),
        await api.get("/v1/jobs?unknown=1"),
        await api.post("/v1/keys", json={"tenant": "x"}),
    ):
        problem(answer, "unauthenticated", 401)
    problem(await api.delete("/v1/jobs"), "method-not-allowed", 405)
    problem(await api.get("/v1/nothing"), "not-found", 404)


# An issuer with keys of its own.


class Issuer:
    def __init__(self) -> None:
        self.keys: dict[str, Any] = {"rsa": RSA, "ec": EC, "ed": ED}
        self.asked = 0

    async def fetch(self) -> dict[str, Any]:
        self.asked += 1
        return {"keys": [self.published(kid) for kid in self.keys]}

    def published(self, kid: str) -> dict[str, Any]:
        public = self.keys[kid].public_key()
        kind = {"rsa": "RSAAlgorithm", "ec": "ECAlgorithm", "ed": "OKPAlgorithm"}[kid.partition("-")[0]]
        algorithm = getattr(jwt.algorithms, kind)
        found = algorithm.to_jwk(public, as_dict=True)
        return dict(found) | {"kid": kid, "use": "sig"}


@pytest.fixture
def issuer() -> Issuer:
    return Issuer()


@pytest.fixture
async def published(
    database_url: str, redis_url: str, database: Database, issuer: Issuer
) -> AsyncIterator[httpx.AsyncClient]:
    """An application that believes an issuer's keys."""
    del database
    app: FastAPI = create_app(settings_for(database_url, redis_url, auth="required", jwks_url="https://issuer.example"))
    async with running(app) as client:
        app.state.services.guard.tokens = Tokens(
            issuer="errander", audience="errander", longest=3600, keys=KeySet(issuer.fetch)
        )
        yield client


@pytest.mark.parametrize(("kid", "algorithm"), [("rsa", "RS256"), ("ec", "ES256"), ("ed", "EdDSA")])
async def test_a_token_of_the_issuer_is_accepted(
    published: httpx.AsyncClient, issuer: Issuer, kid: str, algorithm: str
) -> None:
    assert await status(published, signed(claims(), issuer.keys[kid], algorithm, kid=kid)) == 200


@pytest.mark.parametrize(
    ("scope", "expected"),
    [
        ("admin", 403),
        ("viewer openid", 403),
        ("errander:viewer", 200),
        ("jobs:read", 200),
        ("errander:jobs:read", 200),
        ("billing:viewer", 403),
    ],
)
async def test_a_role_of_an_issuer_is_ours_only_where_it_says_so(
    published: httpx.AsyncClient, issuer: Issuer, scope: str, expected: int
) -> None:
    """Its tokens may be made for several services, each with an `admin` of its own."""
    assert await status(published, signed(claims(scope=scope), issuer.keys["rsa"], "RS256", kid="rsa")) == expected


async def test_the_issuers_public_key_is_no_secret(published: httpx.AsyncClient, issuer: Issuer) -> None:
    """The confusion of algorithms: a token that is signed with the public key as if that were a shared secret."""
    document = json.dumps(issuer.published("rsa")).encode()
    modulus = issuer.published("rsa")["n"].encode()
    for secret in (PUBLIC_PEM, PUBLIC_PEM.strip(), document, modulus, b"", SECRET.encode()):
        for kid in ("rsa", "ec", "ed"):
            forged = by_hand(HEADER | {"kid": kid}, claims(), secret)
            assert await status(published, forged) == 401
    assert await status(published, f"{part({'alg': 'none', 'typ': 'JWT', 'kid': 'rsa'})}.{part(claims())}.") == 401


async def test_a_token_is_verified_by_the_key_and_algorithm_it_must_be(
    published: httpx.AsyncClient, issuer: Issuer
) -> None:
    assert await status(published, signed(claims(), OTHER_RSA, "RS256", kid="rsa")) == 401
    assert await status(published, signed(claims(), RSA, "RS256", kid="ec")) == 401
    assert await status(published, signed(claims(), RSA, "PS256", kid="rsa")) == 401
    assert await status(published, signed(claims(), RSA, "RS256", kid="unknown")) == 401
    assert await status(published, signed(claims(), RSA, "RS256")) == 401, "which of three?"
    jwk = json.loads(jwt.algorithms.RSAAlgorithm.to_jwk(OTHER_RSA.public_key()))
    assert await status(published, signed(claims(), OTHER_RSA, "RS256", kid="rsa", jwk=jwk)) == 401


async def test_unknown_key_ids_do_not_become_requests_to_the_issuer(
    published: httpx.AsyncClient, issuer: Issuer
) -> None:
    for number in range(30):
        assert await status(published, signed(claims(), RSA, "RS256", kid=f"k{number}")) == 401
    assert issuer.asked == 1


async def test_an_issuer_that_is_away_is_not_taken_for_a_bad_token(
    published: httpx.AsyncClient, issuer: Issuer, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def away() -> dict[str, Any]:
        raise OSError("unreachable")

    app = published._transport.app  # type: ignore[attr-defined]
    app.state.services.guard.tokens = Tokens(issuer="errander", audience="errander", longest=3600, keys=KeySet(away))
    answer = await published.get("/v1/jobs", headers=bearer(signed(claims(), RSA, "RS256", kid="rsa")))
    problem(answer, "unavailable", 503)
    assert answer.headers["retry-after"]


# A key for a short token.


async def test_a_key_is_exchanged_for_a_short_token(api: httpx.AsyncClient, make_key: MakeKey) -> None:
    key = await make_key("jobs:read", "jobs:submit", tenant="acme")
    answer = await api.post("/v1/auth/token", headers=bearer(key), json={"scopes": ["jobs:submit"], "expires_in": 60})
    assert answer.status_code == 200
    assert answer.headers["cache-control"] == "no-store"
    token = answer.json()["access_token"]
    assert answer.json() | {"access_token": ""} == {
        "access_token": "",
        "token_type": "Bearer",
        "expires_in": 60,
        "scope": "jobs:submit",
    }
    made = await api.post("/v1/jobs", json={"task": "demo.echo"}, headers=bearer(token))
    assert made.status_code == 202
    assert await status(api, token) == 403, "jobs:read was not asked for"
    assert (await api.get(made.headers["location"], headers=bearer(key))).status_code == 200


async def test_a_token_makes_no_tokens_and_no_more_scopes_than_its_key(
    api: httpx.AsyncClient, make_key: MakeKey
) -> None:
    key = await make_key("jobs:read")
    plain = (await api.post("/v1/auth/token", headers=bearer(key))).json()
    assert (plain["expires_in"], plain["scope"]) == (900, "jobs:read")
    for token in (plain["access_token"], signed(claims())):
        answer = await api.post("/v1/auth/token", headers=bearer(token))
        assert "send the API key" in problem(answer, "forbidden", 403)["detail"]
    problem(await api.post("/v1/auth/token"), "unauthenticated", 401)
    more = await api.post("/v1/auth/token", headers=bearer(key), json={"scopes": ["jobs:submit"]})
    assert problem(more, "forbidden", 403)["scope"] == "jobs:submit"
    for body, pointer in (({"expires_in": 3601}, "/expires_in"), ({"scopes": ["all"]}, "/scopes"), ({"x": 1}, "/x")):
        refused = await api.post("/v1/auth/token", headers=bearer(key), json=body)
        assert problem(refused, "validation-failed", 422)["errors"][0]["pointer"] == pointer


async def test_a_token_that_was_made_stands_in_the_audit_log(api: httpx.AsyncClient, make_key: MakeKey) -> None:
    key = await make_key("jobs:read", "audit:read", tenant="acme")
    body = {"scopes": ["jobs:read"], "expires_in": 60}
    token = (await api.post("/v1/auth/token", headers=bearer(key), json=body)).json()["access_token"]
    problem(await api.post("/v1/auth/token", headers=bearer(token)), "forbidden", 403)
    (entry,) = (await api.get("/v1/audit", headers=bearer(key))).json()["items"]
    key_id = key.split("_")[1]
    assert (entry["action"], entry["actor"], entry["object"]["id"]) == ("key.token", f"key:{key_id}", key_id)
    assert entry["after"]["scopes"] == ["jobs:read"]
    ends = jwt.decode(token, options={"verify_signature": False})["exp"]
    assert abs(datetime.fromisoformat(entry["after"]["expires_at"]).timestamp() - ends) < 2
    assert token not in repr(entry)


async def test_a_token_ends_with_its_key(api: httpx.AsyncClient, make_key: MakeKey) -> None:
    admin, key = await make_key("keys:manage"), await make_key("jobs:read")
    token = (await api.post("/v1/auth/token", headers=bearer(key))).json()["access_token"]
    assert await status(api, token) == 200
    key_id = key.split("_")[1]
    assert (await api.post(f"/v1/keys/{key_id}/revoke", headers=bearer(admin))).status_code == 200
    assert await status(api, token) == 401
    assert await status(api, key) == 401


async def test_without_a_secret_no_tokens_are_made(
    database_url: str, redis_url: str, database: Database, make_key: MakeKey
) -> None:
    del database
    async with running(create_app(settings_for(database_url, redis_url, auth="required"))) as api:
        key = await make_key("jobs:read")
        assert (
            "ERRANDER_JWT_SECRET"
            in problem(await api.post("/v1/auth/token", headers=bearer(key)), "not-found", 404)["detail"]
        )
        problem(await api.get("/v1/jobs", headers=bearer(signed(claims()))), "unauthenticated", 401)


async def test_a_longer_life_can_be_allowed(settings: ApiSettings, database: Database) -> None:
    del database
    longer = settings.model_copy(update={"jwt_max_age_seconds": 7200.0, "jwt_secret": SecretStr(SECRET)})
    async with running(create_app(longer)) as api:
        assert await status(api, signed(claims(exp=now() + 7200))) == 200
        assert await status(api, signed(claims(exp=now() + 7201))) == 401
