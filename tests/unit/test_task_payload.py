"""The signature as schema and validator: what a payload may be, and where it is wrong."""

import json
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Annotated, Any, Optional
from uuid import UUID

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import BaseModel, Field

from errander import Context, FieldError, PayloadInvalid, Registry, ResultInvalid, SyncContext, task

OWN = Registry()


class Line(BaseModel):
    sku: str
    count: Annotated[int, Field(ge=1)] = 1


@dataclass
class Address:
    city: str


@task("order.ship", registry=OWN)
async def ship(
    ctx: Context,
    order: UUID,
    lines: list[Line],
    to: Address | None = None,
    at: datetime | None = None,
    *,
    schema: str = "v1",
) -> Line:
    return lines[0]


@task("anything", registry=OWN)
def anything(ctx: SyncContext, **fields: Any) -> dict[str, Any]:
    return fields


ORDER = "0190a5f0-0000-7000-8000-000000000000"


def test_the_payload_schema_is_closed_and_says_what_may_be_left_out() -> None:
    schema = ship.payload_schema
    assert schema["title"] == "order.ship"
    assert schema["type"] == "object"
    assert list(schema["properties"]) == ["order", "lines", "to", "at", "schema"]
    assert schema["required"] == ["order", "lines"]
    assert schema["additionalProperties"] is False
    assert schema["properties"]["schema"]["default"] == "v1"
    assert json.loads(json.dumps(schema)) == schema


def test_open_keywords_make_an_open_schema() -> None:
    assert anything.payload_schema["additionalProperties"] is True
    assert anything.bind({"x": [1]}, None) == ((), {"x": [1], "ctx": None})


def test_a_task_without_parameters_takes_the_empty_payload_only() -> None:
    @task("nothing", registry=Registry())
    def nothing() -> None: ...

    assert nothing.bind({}) == ((), {})
    assert nothing.result_schema == {"type": "null"}
    with pytest.raises(PayloadInvalid):
        nothing.bind({"x": 1})


@pytest.mark.parametrize("as_text", [False, True])
def test_values_are_read_from_what_json_can_say(as_text: bool) -> None:
    payload = {"order": ORDER, "lines": [{"sku": "a"}], "to": {"city": "Bern"}, "at": "2030-01-01T00:00:00Z"}
    context = object()
    args, kwargs = ship.bind(json.dumps(payload) if as_text else payload, context)  # type: ignore[arg-type]
    assert args == ()
    assert kwargs == {
        "ctx": context,
        "order": UUID(ORDER),
        "lines": [Line(sku="a")],
        "to": Address("Bern"),
        "at": datetime(2030, 1, 1, tzinfo=UTC),
    }


def test_refused_values_are_pointed_at() -> None:
    payload = {"lines": [{"sku": "a"}, {"count": 0}], "to": {"city": 5}, "a/b~c": 1}
    with pytest.raises(PayloadInvalid) as caught:
        ship.bind(payload)
    found = {(error.pointer, error.code) for error in caught.value.errors}
    assert found == {
        ("/order", "missing"),
        ("/lines/1/sku", "missing"),
        ("/lines/1/count", "greater_than_equal"),
        ("/to/city", "string_type"),
        ("/a~1b~0c", "extra_forbidden"),
    }
    assert "/lines/1/sku" in str(caught.value)


@pytest.mark.parametrize("payload", ["[1]", "nonsense", '"text"', b"\xff", "null"])
def test_what_is_no_json_object_is_refused_as_a_whole(payload: str | bytes) -> None:
    with pytest.raises(PayloadInvalid) as caught:
        anything.bind(payload)
    assert caught.value.errors[0].pointer == ""


def test_the_steps_of_a_union_are_no_part_of_the_pointer() -> None:
    @task("union", registry=Registry())
    def union(x: int | list[int]) -> None: ...

    with pytest.raises(PayloadInvalid) as caught:
        union.bind({"x": ["a"]})
    assert {error.pointer for error in caught.value.errors} == {"/x", "/x/0"}


def test_the_context_cannot_come_from_the_payload() -> None:
    with pytest.raises(PayloadInvalid) as caught:
        anything.bind({"ctx": 1}, None)
    assert caught.value.errors == (FieldError("/ctx", "is the task's context and cannot be given", "extra_forbidden"),)


def test_a_positional_context_leaves_its_name_to_the_payload() -> None:
    @task("positional", registry=Registry())
    def positional(ctx: SyncContext, /, **rest: int) -> None: ...

    assert positional.bind({"ctx": 1}, None) == ((None,), {"ctx": 1})
    with pytest.raises(PayloadInvalid):
        positional.bind({"n": "x"}, None)


def test_an_optional_context_is_recognised() -> None:
    @task("optional", registry=Registry())
    def optional(ctx: Optional[SyncContext] = None, n: int = 1) -> None: ...  # noqa: UP045

    @task("optional2", registry=Registry())
    def optional2(ctx: "SyncContext | None" = None) -> None: ...

    for made in (optional, optional2):
        assert made.wants_context
        assert made.context_type is SyncContext
        assert "ctx" not in made.payload_schema["properties"]
    assert not task("no", registry=Registry())(lambda: None).wants_context


def test_annotations_of_a_local_class_resolve() -> None:
    class Local(BaseModel):
        n: int

    @task("local", registry=Registry())
    def local(item: "Local") -> None: ...

    assert local.bind({"item": {"n": 1}}) == ((), {"item": Local(n=1)})


JSON = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-(2**63), 2**63)
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
    max_leaves=8,
)


@given(st.dictionaries(st.text().filter(lambda name: name != "ctx"), JSON, max_size=4))
def test_an_open_task_gets_every_json_object_unchanged(payload: dict[str, Any]) -> None:
    assert anything.validate(payload) == payload
    assert json.loads(anything.dump_result(payload)) == payload


def test_results_are_written_as_pydantic_writes_them() -> None:
    assert ship.dump_result(Line(sku="a")) == b'{"sku":"a","count":1}'
    assert json.loads(ship.dump_result({"at": datetime(2030, 1, 1, tzinfo=UTC), "s": "NaN"})) == {
        "at": "2030-01-01T00:00:00Z",
        "s": "NaN",
    }
    assert ship.result_schema is not None
    assert ship.result_schema["title"] == "Line"


@pytest.mark.parametrize("value", [float("nan"), [float("-inf")], object(), "\ud800", {"x": {object()}}])
def test_what_json_cannot_say_is_no_result(value: Any) -> None:
    with pytest.raises(ResultInvalid, match=r"result of order\.ship is not JSON"):
        ship.dump_result(value)


def test_a_cyclic_result_is_refused() -> None:
    cycle: list[Any] = []
    cycle.append(cycle)
    with pytest.raises(ResultInvalid):
        ship.dump_result(cycle)
