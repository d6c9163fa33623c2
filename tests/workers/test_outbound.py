"""The guarded client against real servers on the loopback: who is connected to, and what is made of the answers."""

import asyncio
import contextlib
import gzip
import ssl
from collections.abc import AsyncIterator, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

import httpx
import pytest

from tests.fixtures.certificates import Authority, listening
from workers.outbound import OutboundPolicy, OutboundRefused, OutboundTooLarge, guarded_client

LOOPBACK = OutboundPolicy.allowing("127.0.0.1", http=True)


@dataclass
class Server:
    """Answers every request with what the test has put here, and notes what it saw."""

    port: int = 0
    answer: bytes = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok"
    connections: int = 0
    requests: list[bytes] = field(default_factory=list)
    hold: asyncio.Event | None = None
    """Where set, the rest of an answer waits for it: everything behind the head."""

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.connections += 1
        while True:
            self.requests.append(await reader.readuntil(b"\r\n\r\n"))
            head, separator, body = self.answer.partition(b"\r\n\r\n")
            writer.write(head + separator)
            await writer.drain()
            if self.hold is not None:
                await self.hold.wait()
            writer.write(body)
            await writer.drain()

    def policy(self, policy: OutboundPolicy = LOOPBACK) -> OutboundPolicy:
        """`policy`, with this server's port allowed."""
        return replace(policy, ports=frozenset({self.port}))


@contextlib.asynccontextmanager
async def serving(context: ssl.SSLContext | None = None) -> AsyncIterator[Server]:
    """A server on the loopback."""
    server = Server()
    async with listening(server.serve, context) as server.port:
        yield server


@pytest.fixture
async def server() -> AsyncIterator[Server]:
    """One that speaks plain HTTP."""
    async with serving() as started:
        yield started


class Names:
    """A resolver: each name has a list of answers, the last of which stays."""

    def __init__(self, **answers: Sequence[Sequence[str]]) -> None:
        self._answers = {name.replace("_", "."): list(found) for name, found in answers.items()}
        self.asked = 0

    async def __call__(self, host: str, _port: int) -> Sequence[str]:
        self.asked += 1
        answers = self._answers[host]
        return answers.pop(0) if len(answers) > 1 else answers[0]


# -- where it connects -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("url", ["http://localhost", "http://127.0.0.1", "http://[::ffff:127.0.0.1]"])
async def test_a_server_on_this_machine_is_never_connected_to(server: Server, url: str) -> None:
    async with guarded_client(server.policy(OutboundPolicy(http=True))) as client:
        with pytest.raises(OutboundRefused, match="not public"):
            await client.get(f"{url}:{server.port}/")
    assert server.connections == 0


async def test_it_is_where_its_network_is_allowed(server: Server) -> None:
    async with guarded_client(server.policy()) as client:
        answer = await client.get(f"http://127.0.0.1:{server.port}/x")
    assert (answer.status_code, answer.text, server.connections) == (200, "ok", 1)


async def test_a_name_that_changes_its_mind_is_connected_where_it_was_checked(server: Server) -> None:
    """DNS rebinding: the answer that is looked at is the answer that is used, and there is no second question."""
    names = Names(rebind_example=[["127.0.0.1"], ["127.0.0.2"]])
    async with guarded_client(server.policy(), resolver=names) as client:
        answer = await client.get(f"http://rebind.example:{server.port}/")
    assert (answer.status_code, names.asked, server.connections) == (200, 1, 1)


async def test_a_name_that_turns_private_is_refused_on_its_next_connection(server: Server) -> None:
    closing = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\nConnection: close\r\n\r\nok"
    server.answer = closing
    names = Names(rebind_example=[["127.0.0.1"], ["127.0.0.2"]])
    async with guarded_client(server.policy(), resolver=names) as client:
        assert (await client.get(f"http://rebind.example:{server.port}/")).status_code == 200
        with pytest.raises(OutboundRefused):
            await client.get(f"http://rebind.example:{server.port}/")
    assert (names.asked, server.connections) == (2, 1)


async def test_the_next_address_is_tried_where_one_does_not_answer(server: Server) -> None:
    names = Names(two_example=[["127.0.0.2", "127.0.0.1"]])
    policy = server.policy(OutboundPolicy.allowing("127.0.0.0/8", http=True))
    async with guarded_client(policy, resolver=names) as client:
        assert (await client.get(f"http://two.example:{server.port}/")).status_code == 200
        dead = await dead_port()
        with pytest.raises(httpx.ConnectError):
            await guarded_get(replace(policy, ports=frozenset({dead})), f"http://two.example:{dead}/", names)


async def guarded_get(policy: OutboundPolicy, url: str, names: Names) -> httpx.Response:
    """One request by a client of its own."""
    async with guarded_client(policy, resolver=names) as client:
        return await client.get(url)


async def dead_port() -> int:
    """A port that nobody listens on."""
    async with serving() as gone:
        return gone.port


async def test_connections_are_kept_for_one_host_and_never_mixed(server: Server) -> None:
    names = Names(one_example=[["127.0.0.1"]], two_example=[["127.0.0.1"]])
    async with guarded_client(server.policy(), resolver=names) as client:
        for name in ("one", "one", "two", "two", "one"):
            await client.get(f"http://{name}.example:{server.port}/")
    assert (server.connections, names.asked) == (2, 2)
    hosts = [line for request in server.requests for line in request.split(b"\r\n") if line.startswith(b"Host:")]
    assert hosts == [f"Host: {name}.example:{server.port}".encode() for name in ("one", "one", "two", "two", "one")]


async def test_another_host_in_the_header_is_refused(server: Server) -> None:
    async with guarded_client(server.policy()) as client:
        with pytest.raises(OutboundRefused, match="Host"):
            await client.get(f"http://127.0.0.1:{server.port}/", headers={"Host": "metadata.google.internal"})
    assert server.connections == 0


async def test_a_resolver_that_hangs_is_not_waited_for() -> None:
    async def hangs(_host: str, _port: int) -> Sequence[str]:
        await asyncio.Event().wait()
        return []

    async with guarded_client(replace(LOOPBACK, connect_timeout=0.05), resolver=hangs) as client:
        with pytest.raises(httpx.ConnectTimeout, match="not resolved"):
            await client.get("http://slow.example/")


async def test_proxies_and_netrc_of_the_environment_are_not_used(
    server: Server, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    (tmp_path / "netrc").write_text("machine 127.0.0.1 login somebody password hidden\n")
    monkeypatch.setenv("NETRC", str(tmp_path / "netrc"))
    dead = await dead_port()
    for name in ("HTTP_PROXY", "http_proxy", "ALL_PROXY"):
        monkeypatch.setenv(name, f"http://127.0.0.1:{dead}")
    async with guarded_client(server.policy()) as client:
        assert (await client.get(f"http://127.0.0.1:{server.port}/")).status_code == 200
    assert b"uthorization" not in server.requests[0]


# -- redirects ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("asked", [False, True])
async def test_a_redirect_is_not_followed(server: Server, asked: bool) -> None:
    async with serving() as inside:
        location = f"http://127.0.0.1:{inside.port}/latest/meta-data"
        server.answer = f"HTTP/1.1 302 Found\r\nLocation: {location}\r\nContent-Length: 0\r\n\r\n".encode()
        policy = replace(LOOPBACK, ports=frozenset({server.port, inside.port}))
        async with guarded_client(policy) as client:
            if asked:
                with pytest.raises(httpx.TooManyRedirects):
                    await client.get(f"http://127.0.0.1:{server.port}/", follow_redirects=True)
            else:
                assert (await client.get(f"http://127.0.0.1:{server.port}/")).status_code == 302
        assert (server.connections, inside.connections) == (1, 0)


# -- TLS ---------------------------------------------------------------------------------------------------------------


@pytest.fixture
def authority(tmp_path: Path) -> Authority:
    """Whom the client believes."""
    return Authority(tmp_path)


async def test_the_certificate_is_checked_against_the_name_and_the_name_is_sent(authority: Authority) -> None:
    context = authority.server("hooks.example")
    asked_for: list[str | None] = []
    context.sni_callback = lambda _socket, name, _context: asked_for.append(name)
    names = Names(hooks_example=[["127.0.0.1"]], other_example=[["127.0.0.1"]])
    async with serving(context) as server:
        policy = server.policy(OutboundPolicy.allowing("127.0.0.1"))
        async with guarded_client(policy, resolver=names, verify=authority.client()) as client:
            answer = await client.get(f"https://hooks.example:{server.port}/")
            assert answer.status_code == 200
            with pytest.raises(httpx.ConnectError, match="Hostname mismatch"):
                await client.get(f"https://other.example:{server.port}/")
            # a caller cannot have another name checked than the URL's
            with pytest.raises(httpx.ConnectError, match="Hostname mismatch"):
                await client.get(f"https://other.example:{server.port}/", extensions={"sni_hostname": "hooks.example"})
        assert asked_for == ["hooks.example", "other.example", "other.example"]
        assert f"Host: hooks.example:{server.port}".encode() in server.requests[0]
        assert len(server.requests) == 1


async def test_a_certificate_of_somebody_else_is_refused(authority: Authority, tmp_path: Path) -> None:
    names = Names(hooks_example=[["127.0.0.1"]])
    async with serving(Authority(tmp_path, "other").server("hooks.example")) as server:
        policy = server.policy(OutboundPolicy.allowing("127.0.0.1"))
        for verify in (authority.client(), None):
            async with guarded_client(policy, resolver=names, verify=verify) as client:
                with pytest.raises(httpx.ConnectError, match="CERTIFICATE_VERIFY_FAILED"):
                    await client.get(f"https://hooks.example:{server.port}/")
        assert server.requests == []


# -- what comes back ---------------------------------------------------------------------------------------------------


async def test_an_answer_is_broken_off_at_its_limit(server: Server) -> None:
    policy = replace(server.policy(), max_bytes=1000)
    async with guarded_client(policy) as client:
        server.answer = b"HTTP/1.1 200 OK\r\nContent-Length: 1000\r\n\r\n" + b"x" * 1000
        assert len((await client.get(f"http://127.0.0.1:{server.port}/")).content) == 1000
        server.answer = b"HTTP/1.1 200 OK\r\nConnection: close\r\n\r\n" + b"x" * 1001
        with pytest.raises(OutboundTooLarge, match="1000 bytes"):
            await client.get(f"http://127.0.0.1:{server.port}/")


@pytest.mark.parametrize("encoding", ["gzip", "GZip", "deflate", "br", "identity, gzip"])
async def test_a_compressed_answer_is_refused_unread(server: Server, encoding: str) -> None:
    bomb = gzip.compress(bytes(10_000_000))
    head = f"HTTP/1.1 200 OK\r\nContent-Encoding: {encoding}\r\nContent-Length: {len(bomb)}\r\n\r\n"
    server.answer = head.encode() + bomb
    async with guarded_client(server.policy()) as client:
        with pytest.raises(OutboundTooLarge, match="compressed"):
            await client.get(f"http://127.0.0.1:{server.port}/", headers={"Accept-Encoding": "gzip"})
    assert b"accept-encoding: identity\r\n" in server.requests[0].lower()


async def test_a_slow_answer_is_broken_off_in_time(server: Server) -> None:
    server.hold = asyncio.Event()
    policy = replace(server.policy(), total_timeout=0.1)
    async with guarded_client(policy) as client:
        with pytest.raises(httpx.ReadTimeout, match="total timeout"):
            await client.get(f"http://127.0.0.1:{server.port}/")


async def test_the_errors_are_httpxs_own(server: Server) -> None:
    async with guarded_client(server.policy()) as client:
        server.answer = b"this is no HTTP\r\n\r\n"
        with pytest.raises(httpx.RemoteProtocolError):
            await client.get(f"http://127.0.0.1:{server.port}/")
        with pytest.raises(OutboundRefused, match="only https"):
            await client.get("/relative")
    assert issubclass(OutboundRefused, httpx.HTTPError)
    assert issubclass(OutboundTooLarge, httpx.HTTPError)
