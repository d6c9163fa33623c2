"""Calls carried by httpx. Nothing of httpx leaves this module: its errors become `ConnectionFailed`."""

import contextlib
from collections.abc import AsyncIterator, Iterator, Mapping
from typing import Any, Final

import httpx

from ._api_errors import ConnectionFailed
from ._wire import Answer, Call, StreamHead

CONNECT_SECONDS: Final = 5.0

_NEVER_SENT: Final = (httpx.ConnectError, httpx.ConnectTimeout, httpx.PoolTimeout, httpx.ProxyError)


class _Http:
    """What both transports share: how a call becomes an httpx request, and its end an answer or an error."""

    def __init__(self, base_url: str, token: str | None, user_agent: str) -> None:
        self._base_url = base_url.rstrip("/")
        self._headers = {"Accept": "application/json", "User-Agent": user_agent}
        if token:
            self._headers["Authorization"] = f"Bearer {token}"

    def __repr__(self) -> str:
        return f"<{type(self).__name__} {self._base_url}>"  # never the token

    def _arguments(self, call: Call) -> dict[str, Any]:
        headers = dict(call.headers)
        if call.content is not None:
            headers.setdefault("Content-Type", "application/json")
        return {
            "method": call.method,
            "url": f"{self._base_url}{call.path}",
            "params": list(call.params) or None,
            "content": call.content,
            "headers": headers,
            "timeout": httpx.Timeout(call.timeout, connect=min(CONNECT_SECONDS, call.timeout)),
        }

    def _failure(self, error: httpx.HTTPError) -> ConnectionFailed:
        never_sent = isinstance(error, _NEVER_SENT)
        said = str(error) or type(error).__name__
        where = "cannot reach" if never_sent else "no answer from"
        failure = ConnectionFailed(f"{where} {self._base_url}: {said}")
        failure.never_sent = never_sent
        return failure


class AsyncHttpTransport(_Http):
    """Carries calls over HTTP for `AsyncClient`."""

    def __init__(
        self,
        base_url: str,
        token: str | None = None,
        *,
        user_agent: str = "errander",
        inner: httpx.AsyncBaseTransport | None = None,
    ) -> None:
        super().__init__(base_url, token, user_agent)
        self._client = httpx.AsyncClient(headers=self._headers, transport=inner)

    async def asend(self, call: Call) -> Answer:
        """Perform one exchange. Raises `ConnectionFailed`."""
        try:
            response = await self._client.request(**self._arguments(call))
        except httpx.HTTPError as error:
            raise self._failure(error) from error
        return _answer(response.status_code, response.headers, response.content)

    @contextlib.asynccontextmanager
    async def astream(self, call: Call) -> AsyncIterator[tuple[StreamHead, AsyncIterator[bytes]]]:
        """Begin an exchange whose content comes part by part. Raises `ConnectionFailed`, then too."""
        try:
            async with self._client.stream(**self._arguments(call)) as response:
                yield _head(response), response.aiter_bytes()
        except httpx.HTTPError as error:
            raise self._failure(error) from error

    async def aclose(self) -> None:
        """Close the connections."""
        await self._client.aclose()


class HttpTransport(_Http):
    """Carries calls over HTTP for `Client`."""

    def __init__(
        self,
        base_url: str,
        token: str | None = None,
        *,
        user_agent: str = "errander",
        inner: httpx.BaseTransport | None = None,
    ) -> None:
        super().__init__(base_url, token, user_agent)
        self._client = httpx.Client(headers=self._headers, transport=inner)

    def send(self, call: Call) -> Answer:
        """Perform one exchange. Raises `ConnectionFailed`."""
        try:
            response = self._client.request(**self._arguments(call))
        except httpx.HTTPError as error:
            raise self._failure(error) from error
        return _answer(response.status_code, response.headers, response.content)

    @contextlib.contextmanager
    def stream(self, call: Call) -> Iterator[tuple[StreamHead, Iterator[bytes]]]:
        """Begin an exchange whose content comes part by part. Raises `ConnectionFailed`, then too."""
        try:
            with self._client.stream(**self._arguments(call)) as response:
                yield _head(response), response.iter_bytes()
        except httpx.HTTPError as error:
            raise self._failure(error) from error

    def close(self) -> None:
        """Close the connections."""
        self._client.close()


def _head(response: httpx.Response) -> StreamHead:
    return StreamHead(response.status_code, {name.lower(): value for name, value in response.headers.items()})


def _answer(status: int, headers: Mapping[str, str], content: bytes) -> Answer:
    return Answer(status, {name.lower(): value for name, value in headers.items()}, content)
