"""Reading problem documents."""

from typing import Any

import httpx


def problem(answer: httpx.Response, code: str, status: int) -> dict[str, Any]:
    """The document of `answer`, which must be this problem, whole and well formed."""
    found: dict[str, Any] = answer.json()
    assert (found["code"], answer.status_code) == (code, status), found
    assert answer.headers["content-type"] == "application/problem+json"
    assert found["type"] == f"/problems/{code}"
    assert found["status"] == status
    assert found["title"]
    assert found["detail"]
    assert found["instance"] == f"urn:request:{answer.headers['x-request-id']}"
    return found


def pointers(answer: httpx.Response) -> dict[str, str]:
    """Pointer → code of everything that is wrong with the request."""
    found = problem(answer, "validation-failed", 422)
    return {error["pointer"]: error["code"] for error in found["errors"]}
