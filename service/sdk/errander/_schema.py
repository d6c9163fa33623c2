"""A function's signature as its task's contract: JSON Schemas to publish, and the validator that decides.

Keyword names are the payload's fields. What is validated is JSON, by pydantic in its JSON mode, so a `datetime`, an
`UUID`, an enum or a model in the signature is read from the text a client can send.
"""

import inspect
import json
import sys
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from types import UnionType
from typing import Annotated, Any, Final, Union, get_args, get_origin, get_type_hints

from pydantic import GetCoreSchemaHandler, TypeAdapter, ValidationError
from pydantic.errors import PydanticUserError
from pydantic.fields import FieldInfo
from pydantic_core import CoreSchema, core_schema, to_json

from ._context import Context, SyncContext
from ._errors import FieldError, TaskDefinitionError
from ._json import dump_json

_Parameter = inspect.Parameter
_ABSENT: Final = _Parameter.empty


@dataclass(frozen=True, slots=True)
class Signature:
    """What a task function takes and gives.

    `context` names the parameter that gets the context (None: it wants none), `context_positional` says that it
    cannot be passed by keyword. `payload_schema` and `result_schema` are JSON Schema; the latter is None where the
    function declares no type that has one.
    """

    context: str | None
    context_positional: bool
    payload_schema: dict[str, Any]
    result_schema: dict[str, Any] | None
    adapter: TypeAdapter[dict[str, Any]]

    def validate(self, payload: Mapping[str, Any] | str | bytes) -> dict[str, Any]:
        """The keyword arguments that `payload` (a mapping of JSON values, or JSON text) means.

        Raises pydantic's `ValidationError`; `field_errors` translates it.
        """
        text = payload if isinstance(payload, str | bytes) else to_json(payload, inf_nan_mode="constants")
        return self.adapter.validate_json(text)


class _Arguments:
    """Tells pydantic how to read a payload: an object with the function's fields, and no others unless `**kwargs`."""

    def __init__(self, fields: list[_Parameter], hints: Mapping[str, Any], extra: _Parameter | None) -> None:
        self._fields = fields
        self._hints = hints
        self._extra = extra

    def __get_pydantic_core_schema__(self, source: Any, handler: GetCoreSchemaHandler) -> CoreSchema:
        """The object's schema; a field with a default may be absent, and then the function's own default applies."""
        fields = {
            item.name: core_schema.typed_dict_field(
                handler.generate_schema(self._hints.get(item.name, Any)), required=item.default is _ABSENT
            )
            for item in self._fields
        }
        if self._extra is None:
            return core_schema.typed_dict_schema(fields, extra_behavior="forbid")
        values = handler.generate_schema(self._hints.get(self._extra.name, Any))
        return core_schema.typed_dict_schema(fields, extra_behavior="allow", extras_schema=values)


def read_signature(task: str, fn: Callable[..., Any], local_names: Mapping[str, Any]) -> Signature:
    """Read the signature of `fn`; `local_names` resolves annotations written as strings inside a function.

    Raises `TaskDefinitionError` for a signature that cannot take a JSON object.
    """
    parameters = list(inspect.signature(fn).parameters.values())
    hints = _hints(task, fn, local_names)
    context = _context_parameter(task, fn, parameters, hints)
    fields, extra = _payload_parameters(task, parameters, context)
    try:
        shape: Any = Annotated[dict, _Arguments(fields, hints, extra)]
        adapter: TypeAdapter[dict[str, Any]] = TypeAdapter(shape)
        schema = adapter.json_schema()
    except PydanticUserError as error:
        raise TaskDefinitionError(task, f"a parameter's type is no JSON type: {_first_line(error)}") from error
    return Signature(
        context=context.name if context else None,
        context_positional=context is not None and context.kind is _Parameter.POSITIONAL_ONLY,
        payload_schema=_finish(task, schema, fields, open_ended=extra is not None),
        result_schema=_result_schema(hints.get("return", _ABSENT)),
        adapter=adapter,
    )


def field_errors(error: ValidationError, payload: Any) -> list[FieldError]:
    """What pydantic found, as JSON pointers into `payload`."""
    return [
        FieldError(_pointer(item["loc"], payload, missing=item["type"] == "missing"), item["msg"], item["type"])
        for item in error.errors(include_url=False, include_context=False, include_input=False)
    ]


def _hints(task: str, fn: Callable[..., Any], local_names: Mapping[str, Any]) -> dict[str, Any]:
    # The two contexts are offered below the module's own names, so that an import under TYPE_CHECKING is enough.
    names = {"Context": Context, "SyncContext": SyncContext} | getattr(fn, "__globals__", {})
    try:
        return get_type_hints(fn, globalns=names, localns=dict(local_names), include_extras=True)
    except NameError as error:
        message = f"an annotation cannot be resolved ({error}); import the name at run time, not under TYPE_CHECKING"
        raise TaskDefinitionError(task, message) from error
    except Exception as error:  # an annotation is code of the author's and may raise anything
        raise TaskDefinitionError(task, f"an annotation cannot be evaluated: {error}") from error


def _context_parameter(
    task: str, fn: Callable[..., Any], parameters: list[_Parameter], hints: Mapping[str, Any]
) -> _Parameter | None:
    wanted = Context if inspect.iscoroutinefunction(fn) else SyncContext
    found = [(item, kind) for item in parameters if (kind := _context_kind(hints.get(item.name))) is not None]
    if not found:
        return None
    if len(found) > 1:
        raise TaskDefinitionError(task, f"has two context parameters: {found[0][0].name} and {found[1][0].name}")
    parameter, kind = found[0]
    if kind is not wanted:
        form = "async def" if wanted is Context else "def"
        raise TaskDefinitionError(task, f"is written as `{form}`, so annotate {parameter.name} as {wanted.__name__}")
    if parameter.kind in (_Parameter.VAR_POSITIONAL, _Parameter.VAR_KEYWORD):
        raise TaskDefinitionError(task, f"the context cannot be *{parameter.name}")
    return parameter


def _context_kind(hint: Any) -> type[Context | SyncContext] | None:
    if hint is Context or hint is SyncContext:
        return hint
    origin = get_origin(hint)
    if origin is Annotated:
        return _context_kind(get_args(hint)[0])
    if origin is Union or origin is UnionType:
        kinds = [kind for item in get_args(hint) if (kind := _context_kind(item)) is not None]
        return kinds[0] if kinds else None
    return None


def _payload_parameters(
    task: str, parameters: list[_Parameter], context: _Parameter | None
) -> tuple[list[_Parameter], _Parameter | None]:
    fields: list[_Parameter] = []
    extra: _Parameter | None = None
    for item in parameters:
        if item is context:
            continue
        if item.kind is _Parameter.POSITIONAL_ONLY:
            message = f"parameter {item.name} is positional-only, but a payload has names: drop the `/`"
            raise TaskDefinitionError(task, message)
        if item.kind is _Parameter.VAR_POSITIONAL:
            raise TaskDefinitionError(task, f"*{item.name} has no name in a payload: take a list instead")
        if item.kind is _Parameter.VAR_KEYWORD:
            extra = item
        elif isinstance(item.default, FieldInfo):
            message = f"write {item.name}: Annotated[…, Field(…)] = default: a Field as the default is no value"
            raise TaskDefinitionError(task, message)
        else:
            fields.append(item)
    return fields, extra


def _finish(task: str, schema: dict[str, Any], fields: list[_Parameter], *, open_ended: bool) -> dict[str, Any]:
    """Add what pydantic cannot know: the task's name, the function's defaults, that an object is closed."""
    finished = {"type": "object", "properties": {}} | schema | {"title": task}
    if open_ended:
        finished.setdefault("additionalProperties", True)
    else:
        finished["additionalProperties"] = False
    for item in fields:
        if item.default is not _ABSENT:
            try:
                default = json.loads(dump_json(item.default))
            except ValueError:
                continue  # a default that is no JSON still works; it just cannot be shown
            finished["properties"][item.name]["default"] = default
    return finished


def _result_schema(annotation: Any) -> dict[str, Any] | None:
    if annotation is _ABSENT or annotation is Any:
        return None
    try:
        return TypeAdapter(annotation).json_schema(mode="serialization")
    except (PydanticUserError, TypeError):
        return None  # a type without a schema may still have JSON values: that is judged when there is one


def _pointer(loc: tuple[int | str, ...], payload: Any, *, missing: bool) -> str:
    """`loc` as an RFC 6901 pointer, without the steps that are pydantic's own (the branch of a union, a validator)."""
    steps: list[str] = []
    node = payload
    for position, step in enumerate(loc):
        if _has(node, step):
            node = node[step]
        elif not (missing and position == len(loc) - 1):
            continue
        steps.append(str(step).replace("~", "~0").replace("/", "~1"))
    return "".join(f"/{step}" for step in steps)


def _has(node: Any, step: int | str) -> bool:
    if isinstance(node, list | tuple):
        return isinstance(step, int) and 0 <= step < len(node)
    return isinstance(node, Mapping) and step in node


def caller_names(depth: int) -> dict[str, Any]:
    """The local names of the function `depth` frames up, for annotations of a task defined inside a function."""
    frame = sys._getframe(depth)  # noqa: SLF001 - `inspect.currentframe` is the same without a depth
    return {} if frame.f_locals is frame.f_globals else dict(frame.f_locals)


def _first_line(error: BaseException) -> str:
    return str(error).partition("\n")[0]
