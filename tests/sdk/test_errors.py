"""The error tree: drawn as it is, and able to travel to another process."""

import pickle
import re
from types import SimpleNamespace

import errander
from errander import _api_errors, _backoff, _errors


def classes() -> dict[str, type[BaseException]]:
    return {
        name: item
        for module in (_errors, _api_errors, _backoff)
        for name, item in vars(module).items()
        if isinstance(item, type) and issubclass(item, errander.ErranderError)
    }


def test_the_tree_is_drawn_as_it_is() -> None:
    drawn = dict[str, str]()
    path: list[tuple[int, str]] = []
    for line in (_errors.__doc__ or "").splitlines():
        shown = re.match(r"    ([│├└─ ]*)([A-Z]\w+)", line)
        if shown is None:
            continue
        depth = len(shown[1])
        path = [entry for entry in path if entry[0] < depth]
        if path:
            drawn[shown[2]] = path[-1][1]
        path.append((depth, shown[2]))
    real = {name: kind.__bases__[0].__name__ for name, kind in classes().items() if name != "ErranderError"}
    assert drawn == real


def test_every_error_is_exported() -> None:
    assert set(classes()) <= set(errander.__all__)


def test_every_error_travels_to_another_process() -> None:
    job = SimpleNamespace(id="j", task="t", error=None, errors=[], cancelled_by="client", cancel_reason="no")
    made: list[BaseException] = [
        errander.TaskDefinitionError("t", "m"),
        errander.DuplicateTask("t", "a", "b"),
        errander.TaskImportError("p", "m"),
        errander.UnknownTask("t", ["u"]),
        errander.PayloadInvalid("t", [errander.FieldError("/x", "d", "c")]),
        errander.ResultInvalid("t", "m"),
        errander.BackoffInvalid("m", "base"),
        errander.JobFailed(job),
        errander.JobCancelled(job),
        errander.WaitTimeout("j", "RUNNING", 3.0),
    ]
    made += [
        kind("d", status=409, code="c", request_id="r", problem={"job_id": "j"}, retry_after=2.0)
        for kind in classes().values()
        if issubclass(kind, errander.ApiError)
    ]
    for error in made:
        copy = pickle.loads(pickle.dumps(error))
        assert type(copy) is type(error)
        assert str(copy) == str(error)
        assert vars(copy) == vars(error)


def test_an_error_says_what_where_and_which_request() -> None:
    error = errander.Forbidden("needs jobs:cancel", status=403, code="forbidden", request_id="r-1")
    assert str(error) == "403 forbidden: needs jobs:cancel (request r-1)"
    assert str(errander.ConnectionFailed("cannot reach x")) == "cannot reach x"
