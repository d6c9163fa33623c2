"""The client: resolves, checks and connects in one place, and bounds what comes back.

What a caller cannot switch off: no redirect is followed, no proxy, netrc or compression is used, the name in the
certificate and the header `Host` are those of the URL, and the body has a limit of bytes and of time. Connections are
kept and used again for the same scheme, host and port only, which is how httpcore's pool looks them up.
"""

import asyncio
import contextlib
import ipaddress
import ssl
import time
from collections.abc import AsyncIterator, Iterable, Iterator

import httpcore
import httpx

from workers.outbound.guard import OutboundRefused, Resolver, addresses_of, check_url, plain_host, resolve
from workers.outbound.policy import OutboundPolicy

_CONNECTIONS = httpx.Limits(max_connections=100, max_keepalive_connections=20, keepalive_expiry=5.0)
# The most specific first: each stands before the ones it is made of.
_ERRORS: tuple[tuple[type[Exception], type[httpx.TransportError]], ...] = (
    (httpcore.ConnectTimeout, httpx.ConnectTimeout),
    (httpcore.ReadTimeout, httpx.ReadTimeout),
    (httpcore.WriteTimeout, httpx.WriteTimeout),
    (httpcore.PoolTimeout, httpx.PoolTimeout),
    (httpcore.TimeoutException, httpx.TimeoutException),
    (httpcore.ConnectError, httpx.ConnectError),
    (httpcore.ReadError, httpx.ReadError),
    (httpcore.WriteError, httpx.WriteError),
    (httpcore.NetworkError, httpx.NetworkError),
    (httpcore.LocalProtocolError, httpx.LocalProtocolError),
    (httpcore.RemoteProtocolError, httpx.RemoteProtocolError),
    (httpcore.ProtocolError, httpx.ProtocolError),
    (httpcore.UnsupportedProtocol, httpx.UnsupportedProtocol),
)


class OutboundTooLarge(httpx.TransportError):
    """The body of an answer went beyond `max_bytes`, or was compressed although nobody asked for that."""


def guarded_client(
    policy: OutboundPolicy, *, resolver: Resolver = resolve, verify: ssl.SSLContext | None = None
) -> httpx.AsyncClient:
    """A client for URLs that somebody else chose. `async with` it, or `await aclose()`.

    Raises, beside what httpx does, OutboundRefused and OutboundTooLarge, both of them `httpx.TransportError`.
    `verify`: whom to believe, by default httpx's authorities, or those of `SSL_CERT_FILE`.
    """
    return httpx.AsyncClient(
        transport=GuardedTransport(policy, resolver, verify or httpx.create_ssl_context()),
        trust_env=False,
        follow_redirects=False,
        max_redirects=0,  # a call that asks for redirects all the same ends in TooManyRedirects
        timeout=httpx.Timeout(policy.read_timeout, connect=policy.connect_timeout),
    )


class GuardedTransport(httpx.AsyncBaseTransport):
    """What `guarded_client` sends through; it sees every request, whoever built it."""

    def __init__(self, policy: OutboundPolicy, resolver: Resolver, verify: ssl.SSLContext) -> None:
        self._policy = policy
        self._pool = httpcore.AsyncConnectionPool(
            ssl_context=verify,
            max_connections=_CONNECTIONS.max_connections,
            max_keepalive_connections=_CONNECTIONS.max_keepalive_connections,
            keepalive_expiry=_CONNECTIONS.keepalive_expiry,
            http1=True,
            http2=False,
            network_backend=_Backend(policy, resolver),
        )

    async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
        """Checks and sends one request; its body comes under the same limits."""
        check_url(request.url, self._policy)
        if request.headers.get("host", "").lower() != request.url.netloc.decode("ascii").lower():
            raise OutboundRefused("the header Host is not that of the URL")
        request.headers["accept-encoding"] = "identity"
        deadline = time.monotonic() + self._policy.total_timeout
        sent = httpcore.Request(
            method=request.method,
            url=httpcore.URL(
                scheme=request.url.raw_scheme,
                host=request.url.raw_host,
                port=request.url.port,
                target=request.url.raw_path,
            ),
            headers=request.headers.raw,
            content=request.stream,
            extensions={
                "timeout": request.extensions.get("timeout", {}),
                "sni_hostname": plain_host(request.url.raw_host.decode("ascii")),
            },
        )
        with _mapped():
            async with _until(deadline):
                answer = await self._pool.handle_async_request(sent)
        body = _Body(answer, self._policy.max_bytes, deadline)
        headers = httpx.Headers(answer.headers)
        if headers.get("content-encoding", "identity").strip().lower() not in ("", "identity"):
            await body.aclose()
            raise OutboundTooLarge("the answer is compressed although only identity was accepted")
        return httpx.Response(answer.status, headers=headers, stream=body, extensions=answer.extensions)

    async def aclose(self) -> None:
        """Closes all connections."""
        await self._pool.aclose()


class _Body(httpx.AsyncByteStream):
    """The body of an answer, counted and timed."""

    def __init__(self, answer: httpcore.Response, limit: int, deadline: float) -> None:
        self._answer = answer
        self._limit = limit
        self._deadline = deadline

    async def __aiter__(self) -> AsyncIterator[bytes]:
        taken = 0
        pieces = self._answer.aiter_stream()
        while True:
            with _mapped():
                async with _until(self._deadline):
                    piece = await anext(pieces, None)
            if piece is None:
                return
            taken += len(piece)
            if taken > self._limit:
                raise OutboundTooLarge(f"the answer is longer than {self._limit} bytes")
            yield piece

    async def aclose(self) -> None:
        await self._answer.aclose()


class _Backend(httpcore.AsyncNetworkBackend):
    """Connects to an address that was checked, not to a name."""

    def __init__(self, policy: OutboundPolicy, resolver: Resolver) -> None:
        self._policy = policy
        self._resolver = resolver
        self._network = httpcore.AnyIOBackend()

    async def connect_tcp(
        self,
        host: str,
        port: int,
        timeout: float | None = None,
        local_address: str | None = None,
        socket_options: Iterable[httpcore.SOCKET_OPTION] | None = None,
    ) -> httpcore.AsyncNetworkStream:
        """Resolves, checks, and connects to the first address that answers, all within `timeout`."""
        deadline = time.monotonic() + (self._policy.connect_timeout if timeout is None else timeout)
        try:
            async with asyncio.timeout(deadline - time.monotonic()):
                addresses = await addresses_of(host, port, self._policy, self._resolver)
        except TimeoutError:
            raise httpcore.ConnectTimeout(f"{host} was not resolved in time") from None
        except OSError as error:
            raise httpcore.ConnectError(str(error)) from error
        failure: Exception = httpcore.ConnectTimeout(f"{host} does not answer")
        for number, address in enumerate(addresses):
            # one that does not answer leaves as much time for each of the others
            share = (deadline - time.monotonic()) / (len(addresses) - number)
            try:
                stream = await self._network.connect_tcp(
                    str(address), port, max(0.0, share), local_address, socket_options
                )
            except (httpcore.ConnectError, httpcore.ConnectTimeout) as error:
                failure = error
                continue
            peer = stream.get_extra_info("server_addr")
            if ipaddress.ip_address(peer[0]) != address:
                await stream.aclose()
                raise OutboundRefused(f"{host} was reached at another address than the one that was checked")
            return stream
        raise failure

    async def connect_unix_socket(
        self,
        path: str,
        timeout: float | None = None,
        socket_options: Iterable[httpcore.SOCKET_OPTION] | None = None,
    ) -> httpcore.AsyncNetworkStream:
        """Never."""
        del path, timeout, socket_options
        raise OutboundRefused("sockets of this machine are not reached")

    async def sleep(self, seconds: float) -> None:
        """For httpcore's retries, of which there are none."""
        await asyncio.sleep(seconds)


@contextlib.asynccontextmanager
async def _until(deadline: float) -> AsyncIterator[None]:
    try:
        async with asyncio.timeout(max(0.0, deadline - time.monotonic())):
            yield
    except TimeoutError:
        raise httpx.ReadTimeout("the request took longer than its total timeout") from None


@contextlib.contextmanager
def _mapped() -> Iterator[None]:
    """Raises httpx's errors instead of httpcore's."""
    try:
        yield
    except Exception as error:
        for theirs, ours in _ERRORS:
            if isinstance(error, theirs):
                raise ours(str(error)) from error
        raise
