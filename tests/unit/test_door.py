"""How many answers are held open: nobody takes all of them."""

import contextlib

import pytest

from service.auth.principal import ANYONE, Principal
from service.auth.scopes import EVERYTHING
from service.http.problems import Problem
from service.limits.door import Door


def of(tenant: str, name: str = "key:a") -> Principal:
    return Principal(name, tenant, EVERYTHING)


@pytest.fixture
def door() -> Door:
    return Door("streams", most=20, most_of_one=4)


@pytest.fixture
def inside() -> contextlib.ExitStack:
    return contextlib.ExitStack()


def refusal(door: Door, principal: Principal) -> Problem:
    with pytest.raises(Problem) as found, door.enter(principal):
        pass
    return found.value


def test_one_tenant_with_many_credentials_leaves_a_quarter_to_others(door: Door, inside: contextlib.ExitStack) -> None:
    with inside:
        for number in range(15):
            inside.enter_context(door.enter(of("greedy", f"jwt:{number}")))
        found = refusal(door, of("greedy", "jwt:new"))
        assert (found.code, found.extra) == ("quota-exceeded", {"violated-policies": ["tenant-streams"]})
        assert found.headers["RateLimit-Policy"] == '"tenant-streams";q=5;qu="streams"'
        for number in range(5):
            inside.enter_context(door.enter(of("modest", f"jwt:{number}")))
        assert refusal(door, of("third")).code == "unavailable", "all places are taken"
    assert door.inside == 0


def test_whoever_leaves_makes_room_for_his_tenant(door: Door, inside: contextlib.ExitStack) -> None:
    with inside:
        for number in range(14):
            inside.enter_context(door.enter(of("greedy", f"jwt:{number}")))
        with door.enter(of("greedy", "jwt:x")):
            refusal(door, of("greedy", "jwt:y"))
        with door.enter(of("greedy", "jwt:y")):
            assert door.inside == 15


def test_a_credential_is_one_within_its_tenant(door: Door, inside: contextlib.ExitStack) -> None:
    with inside:
        for _ in range(4):
            inside.enter_context(door.enter(of("mine", "jwt:ada")))
        assert refusal(door, of("mine", "jwt:ada")).extra == {"violated-policies": ["streams"]}
        inside.enter_context(door.enter(of("mine", "jwt:bob")))
        inside.enter_context(door.enter(of("other", "jwt:ada")))


def test_where_nobody_is_asked_only_the_limit_of_the_process_holds(door: Door, inside: contextlib.ExitStack) -> None:
    with inside:
        for _ in range(20):
            inside.enter_context(door.enter(ANYONE))
        assert refusal(door, ANYONE).code == "unavailable"


def test_a_door_that_is_shut_lets_nobody_in(door: Door) -> None:
    door.shut = True
    assert refusal(door, of("mine")).code == "unavailable"
