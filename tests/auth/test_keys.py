"""API keys over HTTP: made, used, rotated, revoked."""

import asyncio
from datetime import datetime, timedelta
from typing import Any

import httpx
import pytest
from pydantic import SecretStr

from db import keys as kept_keys
from db.engine import Database, Link
from db.keys import KeyRecord
from service.auth import keys
from service.auth.guard import Guard
from service.auth.issuing import Wish, issue
from service.auth.key_records import KEY_SECONDS
from service.auth.scopes import Scope
from service.http.problems import Problem
from service.main import create_app
from service.settings import ApiSettings
from tests.api.conftest import running, settings_for
from tests.api.problems import problem
from tests.auth.conftest import MakeKey, bearer
from tests.fixtures.jobs import JobBook

ALL = [str(scope) for scope in Scope]


async def test_a_key_is_shown_once_and_only_its_hash_is_kept(
    api: httpx.AsyncClient, make_key: MakeKey, book: JobBook
) -> None:
    admin = await make_key("admin", tenant="acme")
    body = {"name": "shop", "scopes": ["submitter", "jobs:cancel"], "tasks": ["email.*"], "max_priority": "default"}
    made = await api.post("/v1/keys", json=body | {"expires_in": 3600}, headers=bearer(admin))
    assert made.status_code == 201
    assert made.headers["cache-control"] == "no-store"
    document = made.json()
    text = document.pop("key")
    assert made.headers["location"] == f"/v1/keys/{document['id']}"
    assert keys.parse(text) is not None
    assert document["last_four"] == text.split("_")[2][-4:]
    assert document["scopes"] == ["jobs:cancel", "jobs:read", "jobs:submit"]
    assert (document["tenant"], document["active"], document["revoked_at"]) == ("acme", True, None)
    assert document["created_by"] == f"key:{admin.split('_')[1]}"
    read = (await api.get(made.headers["location"], headers=bearer(admin))).json()
    assert read == document
    kept = await book.execute("SELECT CAST(to_jsonb(k) AS text) FROM errander.api_keys k WHERE id = $1", document["id"])
    assert text.split("_")[2] not in kept
    digest = await book.execute("SELECT digest FROM errander.api_keys WHERE id = $1", document["id"])
    assert digest == keys.digest(keys.KeyText(document["id"], text), b"")


async def test_keys_are_listed_newest_first_in_pages(api: httpx.AsyncClient, make_key: MakeKey) -> None:
    admin = await make_key("admin")
    for number in range(4):
        await make_key("jobs:read", tenant="default" if number % 2 else "other")
    first = (await api.get("/v1/keys?limit=2", headers=bearer(admin))).json()
    second = (await api.get(f"/v1/keys?limit=2&cursor={first['next_cursor']}", headers=bearer(admin))).json()
    listed = [*first["items"], *second["items"]]
    assert [item["scopes"] for item in listed] == [["jobs:read"], ["jobs:read"], sorted(ALL)]
    assert second["next_cursor"] is None
    assert {item["tenant"] for item in listed} == {"default"}
    assert sorted((item["created_at"] for item in listed), reverse=True) == [item["created_at"] for item in listed]
    problem(await api.get("/v1/keys?cursor=x", headers=bearer(admin)), "validation-failed", 422)


async def test_nobody_makes_a_key_that_may_more_than_he_does(api: httpx.AsyncClient, make_key: MakeKey) -> None:
    maker = await make_key("keys:manage", "jobs:read")
    allowed = await api.post("/v1/keys", json={"name": "a", "scopes": ["jobs:read"]}, headers=bearer(maker))
    assert allowed.status_code == 201
    refused = await api.post("/v1/keys", json={"name": "a", "scopes": ["viewer"]}, headers=bearer(maker))
    assert problem(refused, "forbidden", 403)["scope"] == "queues:read"
    narrow = await make_key("admin", tasks=["email.send"])
    refused = await api.post("/v1/keys", json={"name": "a", "scopes": ["jobs:read"]}, headers=bearer(narrow))
    assert "narrowed" in problem(refused, "forbidden", 403)["detail"]
    strong = (await make_key("admin")).split("_")[1]
    refused = await api.post(f"/v1/keys/{strong}/rotate", headers=bearer(maker))
    problem(refused, "forbidden", 403)


async def test_a_key_does_not_outlive_the_credential_it_was_made_with(
    api: httpx.AsyncClient, make_key: MakeKey, book: JobBook
) -> None:
    endless, maker = (await make_key("jobs:read")).split("_")[1], await make_key("admin", expires_in=3600)
    ends = await book.execute("SELECT expires_at FROM errander.api_keys WHERE id = $1", maker.split("_")[1])
    token = (await api.post("/v1/auth/token", json={"expires_in": 60}, headers=bearer(maker))).json()["access_token"]

    async def make(credential: str, **more: Any) -> httpx.Response:
        body = {"name": "a", "scopes": ["jobs:read"]} | more
        return await api.post("/v1/keys", json=body, headers=bearer(credential))

    made = (await make(maker)).json()
    assert datetime.fromisoformat(made["expires_at"]) == ends
    soon = datetime.fromisoformat((await make(token)).json()["expires_at"])
    assert soon - datetime.fromisoformat(made["created_at"]) < timedelta(seconds=65)
    assert (await make(token, expires_in=30)).status_code == 201
    for refused in (
        await make(maker, expires_in=7200),
        await make(maker, expires_at="2099-01-01T00:00:00Z"),
        await make(token, expires_in=600),
        await api.post(f"/v1/keys/{endless}/rotate", headers=bearer(maker)),
        await api.post(f"/v1/keys/{made['id']}/rotate", headers=bearer(token)),
    ):
        assert "this credential ends at" in problem(refused, "forbidden", 403)["detail"]
    successor = await api.post(f"/v1/keys/{maker.split('_')[1]}/rotate", headers=bearer(maker))
    assert successor.status_code == 201
    assert datetime.fromisoformat(successor.json()["expires_at"]) == ends, "it renews itself, not its time"


@pytest.mark.parametrize(
    ("body", "pointer"),
    [
        ({"scopes": ["jobs:read"]}, "/name"),
        ({"name": "", "scopes": ["jobs:read"]}, "/name"),
        ({"name": "a\nb", "scopes": ["jobs:read"]}, "/name"),
        ({"name": "a", "scopes": []}, "/scopes"),
        ({"name": "a", "scopes": ["jobs:everything"]}, "/scopes"),
        ({"name": "a", "scopes": ["jobs:read"], "tenant": "other"}, "/tenant"),
        ({"name": "a", "scopes": ["jobs:read"], "tasks": ["a b"]}, "/tasks"),
        ({"name": "a", "scopes": ["jobs:read"], "tasks": []}, "/tasks"),
        ({"name": "a", "scopes": ["jobs:read"], "max_priority": "urgent"}, "/max_priority"),
        ({"name": "a", "scopes": ["jobs:read"], "expires_in": 0}, "/expires_in"),
        ({"name": "a", "scopes": ["jobs:read"], "expires_in": 5, "expires_at": "2099-01-01T00:00:00Z"}, "/expires_in"),
    ],
)
async def test_a_wish_that_cannot_be_meant_is_refused(
    api: httpx.AsyncClient, make_key: MakeKey, body: dict[str, Any], pointer: str
) -> None:
    admin = await make_key("admin")
    refused = problem(await api.post("/v1/keys", json=body, headers=bearer(admin)), "validation-failed", 422)
    assert [error["pointer"] for error in refused["errors"]] == [pointer]
    assert len((await api.get("/v1/keys", headers=bearer(admin))).json()["items"]) == 1


async def test_a_revoked_key_ends_at_once_here_and_soon_everywhere(
    api: httpx.AsyncClient, make_key: MakeKey, database: Database
) -> None:
    admin, key = await make_key("admin"), await make_key("jobs:read")
    now = 0.0
    elsewhere = Guard(database.link, is_off=False, clock=lambda: now)
    request = {"headers": [(b"authorization", f"Bearer {key}".encode())]}
    assert Scope.JOBS_READ in (await elsewhere.authenticated(dict(request))).scopes
    assert (await api.get("/v1/jobs", headers=bearer(key))).status_code == 200
    key_id = key.split("_")[1]
    for _ in range(2):
        revoked = await api.post(f"/v1/keys/{key_id}/revoke", json={"reason": "leaked"}, headers=bearer(admin))
        assert revoked.status_code == 200
        assert not revoked.json()["active"]
    problem(await api.get("/v1/jobs", headers=bearer(key)), "unauthenticated", 401)
    now = KEY_SECONDS
    with pytest.raises(Exception, match="revoked"):
        await elsewhere.authenticated(dict(request))
    problem(await api.post(f"/v1/keys/{key_id}/rotate", headers=bearer(admin)), "key-not-active", 409)


async def test_a_key_and_its_successor_are_both_good_until_the_overlap_ends(
    api: httpx.AsyncClient, make_key: MakeKey
) -> None:
    admin, former = await make_key("admin"), await make_key("jobs:read", tasks=["email.*"], max_priority="low")
    path = f"/v1/keys/{former.split('_')[1]}/rotate"
    made = await api.post(path, json={"overlap": 60}, headers=bearer(admin))
    assert made.status_code == 201
    document = made.json()
    assert document["replaces"] == former.split("_")[1]
    assert (document["scopes"], document["tasks"], document["max_priority"]) == (["jobs:read"], ["email.*"], "low")
    for key in (former, document["key"]):
        assert (await api.get("/v1/jobs", headers=bearer(key))).status_code == 200
    at_once = await api.post(f"/v1/keys/{document['id']}/rotate", json={"overlap": 0}, headers=bearer(admin))
    problem(at_once, "rotation-under-way", 409)
    await api.post(path.replace("rotate", "revoke"), headers=bearer(admin))
    problem(await api.get("/v1/jobs", headers=bearer(former)), "unauthenticated", 401)
    at_once = await api.post(f"/v1/keys/{document['id']}/rotate", json={"overlap": 0}, headers=bearer(admin))
    assert at_once.status_code == 201
    problem(await api.get("/v1/jobs", headers=bearer(document["key"])), "unauthenticated", 401)
    assert (await api.get("/v1/jobs", headers=bearer(at_once.json()["key"]))).status_code == 200


async def test_two_keys_of_a_rotation_are_good_and_no_third(api: httpx.AsyncClient, make_key: MakeKey) -> None:
    admin, first = await make_key("admin"), (await make_key("jobs:read")).split("_")[1]

    async def rotate(key_id: str) -> httpx.Response:
        return await api.post(f"/v1/keys/{key_id}/rotate", json={"overlap": 60}, headers=bearer(admin))

    answers = await asyncio.gather(*(rotate(first) for _ in range(4)))
    assert sorted(answer.status_code for answer in answers) == [201, 409, 409, 409]
    second = next(answer.json()["id"] for answer in answers if answer.status_code == 201)
    refused = problem(await rotate(first), "rotation-under-way", 409)
    assert refused["key_id"] == second
    assert f"has a successor, {second}" in refused["detail"]
    refused = problem(await rotate(second), "rotation-under-way", 409)
    assert refused["key_id"] == first
    assert f"key {first}, which {second} replaces, is still good" in refused["detail"]
    listed = (await api.get("/v1/keys", headers=bearer(admin))).json()["items"]
    assert len([item for item in listed if item["active"] and item["scopes"] == ["jobs:read"]]) == 2
    # The successor was lost: it is revoked, and the key has another.
    assert (await api.post(f"/v1/keys/{second}/revoke", headers=bearer(admin))).status_code == 200
    assert (await rotate(first)).status_code == 201


async def test_a_successor_lives_as_long_as_its_key_was_meant_to(api: httpx.AsyncClient, make_key: MakeKey) -> None:
    """Also the second one, when the first was lost and the former is about to retire."""
    admin, endless, daily = (
        await make_key("admin"),
        await make_key("jobs:read"),
        await make_key("jobs:read", expires_in=86_400),
    )
    for former, lives in ((endless, None), (daily, 86_400)):
        path = f"/v1/keys/{former.split('_')[1]}"
        for _ in range(2):
            made = (await api.post(f"{path}/rotate", json={"overlap": 60}, headers=bearer(admin))).json()
            await api.post(f"/v1/keys/{made['id']}/revoke", headers=bearer(admin))
            if lives is None:
                assert made["expires_at"] is None
            else:
                span = datetime.fromisoformat(made["expires_at"]) - datetime.fromisoformat(made["created_at"])
                assert span == timedelta(seconds=lives)
        read = (await api.get(path, headers=bearer(admin))).json()
        assert read["retires_at"] is not None
        assert (read["expires_at"] is None) == (lives is None)


async def test_a_look_that_began_before_a_revocation_is_not_believed_after_it(
    make_key: MakeKey, database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    key = await make_key("jobs:read")
    guard = Guard(database.link, is_off=False)
    request: dict[str, Any] = {"headers": [(b"authorization", f"Bearer {key}".encode())]}
    read, go_on = asyncio.Event(), asyncio.Event()
    find = kept_keys.find

    async def slowly(link: Link, key_id: str) -> KeyRecord | None:
        found = await find(link, key_id)
        read.set()
        await go_on.wait()
        return found

    monkeypatch.setattr(kept_keys, "find", slowly)
    early = asyncio.create_task(guard.authenticated(dict(request)))
    await read.wait()
    await kept_keys.revoke(database.link, "default", key.split("_")[1])
    guard.forget()
    late = asyncio.create_task(guard.authenticated(dict(request)))
    go_on.set()
    await early  # it asked before
    with pytest.raises(Problem):
        await late
    with pytest.raises(Problem):
        await guard.authenticated(dict(request))


async def test_an_expired_key_is_no_key(api: httpx.AsyncClient, make_key: MakeKey, book: JobBook) -> None:
    key = await make_key("jobs:read", expires_in=3600)
    await book.execute("UPDATE errander.api_keys SET expires_at = now() - interval '1 second'")
    problem(await api.get("/v1/jobs", headers=bearer(key)), "unauthenticated", 401)


async def test_a_key_that_was_never_made_is_refused_like_one_that_ended(
    api: httpx.AsyncClient, make_key: MakeKey, book: JobBook
) -> None:
    ended = await make_key("jobs:read")
    await book.execute("UPDATE errander.api_keys SET revoked_at = now()")
    real = await make_key("jobs:read")
    imitated = f"errander_{real.split('_')[1]}_{'0' * 32}"
    imitated += "_" + keys._checksum(imitated)
    answers = [
        problem(await api.get("/v1/jobs", headers=bearer(text)), "unauthenticated", 401)["detail"]
        for text in (ended, imitated, keys.make().text)
    ]
    assert len(set(answers)) == 1, "an answer must not tell which ids there are"
    mistyped = await api.get("/v1/jobs", headers=bearer(real[:-1]))
    assert "mistyped" in problem(mistyped, "unauthenticated", 401)["detail"]


async def test_a_key_is_good_only_under_the_pepper_it_was_made_with(
    database_url: str, redis_url: str, database: Database
) -> None:
    pepper = "7d1f00aa4be07d45c6a3f8d1b26e5c90bb"
    _, plain = await issue(database.link, b"", Wish("default", "a", ["jobs:read"], "test"))
    _, peppered = await issue(database.link, pepper.encode(), Wish("default", "a", ["jobs:read"], "test"))
    chosen = settings_for(database_url, redis_url, auth="required", key_pepper=SecretStr(pepper))
    async with running(create_app(chosen)) as api:
        assert (await api.get("/v1/jobs", headers=bearer(peppered))).status_code == 200
        problem(await api.get("/v1/jobs", headers=bearer(plain)), "unauthenticated", 401)


async def test_a_busy_client_costs_one_look_and_its_last_use_is_noted(
    api: httpx.AsyncClient, make_key: MakeKey, database: Database, book: JobBook, monkeypatch: pytest.MonkeyPatch
) -> None:
    key = await make_key("jobs:read")
    guard = Guard(database.link, is_off=False)
    looks = 0
    find = kept_keys.find

    async def counted(link: Link, key_id: str) -> KeyRecord | None:
        nonlocal looks
        looks += 1
        return await find(link, key_id)

    monkeypatch.setattr(kept_keys, "find", counted)
    request: dict[str, Any] = {"headers": [(b"authorization", f"Bearer {key}".encode())]}
    await asyncio.gather(*(guard.admit(dict(request), Scope.JOBS_READ) for _ in range(100)))
    assert looks == 1
    await guard.note()
    noted = await book.execute("SELECT last_used_at FROM errander.api_keys")
    assert noted is not None
    await guard.admit(dict(request), Scope.JOBS_READ)
    await guard.note()
    assert await book.execute("SELECT last_used_at FROM errander.api_keys") == noted


NARROW: list[tuple[str, dict[str, Any], int]] = [
    ("/v1/jobs", {"task": "demo.echo"}, 202),
    ("/v1/jobs", {"task": "demo.echo", "priority": "low"}, 202),
    ("/v1/jobs", {"task": "demo.echo", "priority": "high"}, 403),
    ("/v1/jobs", {"task": "demo.sleep", "payload": {"seconds": 1}}, 403),
    ("/v1/jobs/batch", {"jobs": [{"task": "demo.echo"}, {"task": "demo.echo", "priority": "high"}]}, 403),
    ("/v1/jobs/batch", {"jobs": [{"task": "demo.echo"}, {"task": "demo.sleep", "payload": {"seconds": 1}}]}, 403),
    ("/v1/jobs/batch", {"jobs": [{"task": "demo.echo"}]}, 202),
    ("/v1/jobs/cancel", {"filter": {}}, 422),
    ("/v1/jobs/cancel", {"filter": {"task": "demo.*"}}, 403),
    ("/v1/jobs/cancel", {"filter": {"task": "demo.echo"}}, 200),
]


@pytest.mark.parametrize(("path", "body", "status"), NARROW)
async def test_a_key_is_narrowed_to_tasks_and_a_priority(
    api: httpx.AsyncClient, make_key: MakeKey, path: str, body: dict[str, Any], status: int
) -> None:
    key = await make_key("operator", tasks=["demo.echo"], max_priority="default")
    answer = await api.post(path, json=body, headers=bearer(key))
    assert answer.status_code == status, answer.text
    if status == 403:
        assert problem(answer, "forbidden", 403)["detail"].startswith("this credential")
        assert (await api.get("/v1/jobs", headers=bearer(key))).json()["items"] == []


async def test_a_narrow_key_leaves_other_jobs_alone(api: httpx.AsyncClient, make_key: MakeKey) -> None:
    wide, narrow = await make_key("operator"), await make_key("operator", tasks=["demo.echo"], max_priority="default")
    sleep = {"task": "demo.sleep", "payload": {"seconds": 1}, "delay": 3600}
    other = (await api.post("/v1/jobs", json=sleep, headers=bearer(wide))).headers["location"]
    mine = (await api.post("/v1/jobs", json={"task": "demo.echo", "delay": 60}, headers=bearer(narrow))).headers
    for path in (f"{other}/cancel", f"{other}/run-now"):
        problem(await api.post(path, headers=bearer(narrow)), "forbidden", 403)
    problem(await api.patch(other, json={"priority": "low"}, headers=bearer(narrow)), "forbidden", 403)
    problem(await api.patch(mine["location"], json={"priority": "high"}, headers=bearer(narrow)), "forbidden", 403)
    assert (await api.get(other, headers=bearer(narrow))).json()["status"] == "PENDING"
    assert (await api.post(f"{mine['location']}/cancel", headers=bearer(narrow))).json()["status"] == "CANCELLED"


async def test_the_prefix_of_an_allowlist_is_a_prefix_of_names(
    api: httpx.AsyncClient, make_key: MakeKey, settings: ApiSettings
) -> None:
    del settings
    key = await make_key("submitter", tasks=["demo.*"])
    assert (await api.post("/v1/jobs", json={"task": "demo.echo"}, headers=bearer(key))).status_code == 202
    key = await make_key("submitter", tasks=["demo.e"])
    problem(await api.post("/v1/jobs", json={"task": "demo.echo"}, headers=bearer(key)), "forbidden", 403)


async def test_what_is_done_to_keys_stands_in_the_audit_log(api: httpx.AsyncClient, make_key: MakeKey) -> None:
    admin = await make_key("admin", tenant="acme")
    body = {"name": "shop", "scopes": ["jobs:read"], "tasks": ["email.*"]}
    key_id = (await api.post("/v1/keys", json=body, headers=bearer(admin))).json()["id"]
    successor = (await api.post(f"/v1/keys/{key_id}/rotate", headers=bearer(admin))).json()
    for _ in range(2):
        await api.post(f"/v1/keys/{key_id}/revoke", json={"reason": "leaked"}, headers=bearer(admin))
    listed = (await api.get("/v1/audit?action=key.*", headers=bearer(admin))).json()["items"]
    told = [(entry["action"], entry["object"]["id"], entry["reason"]) for entry in listed]
    assert told == [
        ("key.revoke", key_id, "leaked"),
        ("key.create", successor["id"], None),
        ("key.rotate", key_id, None),
        ("key.create", key_id, None),
    ]
    assert {entry["actor"] for entry in listed} == {f"key:{admin.split('_')[1]}"}
    assert listed[2]["after"]["successor"] == successor["id"]
    assert listed[3]["after"] | {} == {
        "name": "shop",
        "scopes": ["jobs:read"],
        "tasks": ["email.*"],
        "max_priority": None,
        "expires_at": None,
        "replaces": None,
    }
    assert successor["key"] not in repr(listed)
    stranger = await make_key("admin", tenant="rival")
    assert (await api.get("/v1/audit", headers=bearer(stranger))).json()["items"] == []
