"""The fault proxy itself: what a test of a broken link relies on."""

import asyncio
import time
from collections.abc import AsyncIterator

import pytest

from service.chaos.proxy import Proxy
from tests.fixtures.waiting import eventually

NOT_YET = 0.1  # seconds in which what is silent is seen to say nothing


class Echo:
    """A server that sends back what it gets, after its name."""

    def __init__(self, name: bytes) -> None:
        self.name = name
        self._writers: set[asyncio.StreamWriter] = set()

    async def start(self) -> "Echo":
        self.server = await asyncio.start_server(self._serve, "127.0.0.1", 0)
        return self

    @property
    def url(self) -> str:
        return f"echo://127.0.0.1:{self.server.sockets[0].getsockname()[1]}"

    @property
    def connections(self) -> int:
        """How many are connected to it."""
        return len(self._writers)

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._writers.add(writer)
        try:
            while piece := await reader.read(1000):
                writer.write(self.name + piece)
        except ConnectionResetError:
            pass
        finally:
            self._writers.discard(writer)
            writer.close()

    async def stop(self) -> None:
        self.server.close()
        for writer in self._writers:
            writer.transport.abort()
        await self.server.wait_closed()


@pytest.fixture
async def echo() -> AsyncIterator[Echo]:
    """A server."""
    server = await Echo(b">").start()
    yield server
    await server.stop()


@pytest.fixture
async def proxy(echo: Echo) -> AsyncIterator[Proxy]:
    """In front of it."""
    async with Proxy.of(echo.url) as proxy:
        yield proxy


class Client:
    """One connection through a proxy."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.reader = reader
        self.writer = writer

    @classmethod
    async def to(cls, proxy: Proxy) -> "Client":
        return cls(*await asyncio.open_connection("127.0.0.1", proxy.port))

    async def ask(self, words: bytes) -> bytes:
        self.writer.write(words)
        return await self.reader.read(1000)

    def close(self) -> None:
        self.writer.transport.abort()


async def test_what_is_sent_arrives_both_ways(proxy: Proxy) -> None:
    client = await Client.to(proxy)
    assert await client.ask(b"hello") == b">hello"
    assert proxy.connections == 1
    client.close()
    await eventually(lambda: proxy.connections == 0)


@pytest.mark.parametrize("which", ["up", "down"])
async def test_a_silent_way_keeps_what_was_sent_until_it_is_open(proxy: Proxy, which: str) -> None:
    client = await Client.to(proxy)
    await client.ask(b"hello")
    proxy.silence(getattr(proxy, which))
    asking = asyncio.create_task(client.ask(b"anybody?"))
    _, pending = await asyncio.wait({asking}, timeout=NOT_YET)
    assert pending
    await proxy.heal()
    assert await asking == b">anybody?"
    client.close()


async def test_whoever_connects_to_a_silent_link_is_taken_and_hears_nothing(proxy: Proxy) -> None:
    proxy.silence()
    client = await Client.to(proxy)
    asking = asyncio.create_task(client.ask(b"anybody?"))
    _, pending = await asyncio.wait({asking}, timeout=NOT_YET)
    assert pending
    await proxy.heal()
    assert await asking == b">anybody?"
    client.close()


async def test_a_slow_link_takes_its_time(proxy: Proxy) -> None:
    client = await Client.to(proxy)
    proxy.slow(latency=0.1, jitter=0.05)
    asked = time.monotonic()
    assert await client.ask(b"hello") == b">hello"
    assert time.monotonic() - asked >= 0.2
    proxy.slow(rate=1000)
    asked = time.monotonic()
    client.writer.write(b"x" * 200)
    got = b""
    while len(got.replace(b">", b"")) < 200:
        got += await client.reader.read(1000)
    assert time.monotonic() - asked >= 0.2
    client.close()


async def test_a_reset_is_a_reset_and_the_next_connection_works(proxy: Proxy) -> None:
    client = await Client.to(proxy)
    await client.ask(b"hello")
    proxy.reset()
    with pytest.raises(ConnectionResetError):
        await client.ask(b"hello?")
        await client.ask(b"hello??")
    client = await Client.to(proxy)
    assert await client.ask(b"again") == b">again"
    client.close()


async def test_a_half_closed_connection_ends_for_the_client(proxy: Proxy) -> None:
    client = await Client.to(proxy)
    await client.ask(b"hello")
    proxy.half_close()
    assert await client.reader.read(1000) == b""
    client.close()


async def test_a_link_that_refuses_keeps_its_connections_and_takes_new_ones_when_healed(proxy: Proxy) -> None:
    client = await Client.to(proxy)
    await proxy.refuse()
    with pytest.raises(ConnectionRefusedError):
        await Client.to(proxy)
    assert await client.ask(b"hello") == b">hello"
    await proxy.heal()
    other = await Client.to(proxy)
    assert await other.ask(b"hello") == b">hello"
    client.close()
    other.close()


async def test_it_leads_to_another_server_when_told(proxy: Proxy) -> None:
    client = await Client.to(proxy)
    await client.ask(b"hello")
    other = await Echo(b"!").start()
    proxy.repoint(other.url)
    with pytest.raises(ConnectionResetError):
        await client.ask(b"hello")
        await client.ask(b"hello")
    client = await Client.to(proxy)
    assert await client.ask(b"hello") == b"!hello"
    client.close()
    await other.stop()


async def test_a_connection_ends_after_so_many_bytes(proxy: Proxy) -> None:
    client = await Client.to(proxy)
    proxy.down.until_cut = 3
    assert await client.ask(b"hello") in (b">he", b"")
    with pytest.raises(ConnectionResetError):
        await client.ask(b"hello")
        await client.ask(b"hello")
    assert proxy.cuts == 1


async def test_the_answer_to_the_words_is_lost_and_to_others_it_is_not(proxy: Proxy) -> None:
    client = await Client.to(proxy)
    proxy.cut_after(b"commit")
    assert await client.ask(b"begin") == b">begin"
    with pytest.raises(ConnectionResetError):
        assert await client.ask(b"now commit") == b""
        await client.ask(b"are you there?")
    assert proxy.cuts == 1
    client = await Client.to(proxy)
    assert await client.ask(b"commit") == b">commit"
    client.close()


async def test_the_words_are_seen_where_they_arrive_in_pieces(proxy: Proxy) -> None:
    client = await Client.to(proxy)
    proxy.cut_after(b"commit")
    proxy.up.rate = 60  # three bytes a piece
    client.writer.write(b"now commit")
    with pytest.raises(ConnectionResetError):
        while await client.reader.read(1000):
            pass
        await client.ask(b"are you there?")
    assert proxy.cuts == 1


@pytest.mark.parametrize("turns", range(8))
async def test_at_its_end_nothing_stays_connected_to_the_server(echo: Echo, turns: int) -> None:
    """Also when it ends while a connection is just being taken down."""
    async with Proxy.of(echo.url) as proxy:
        client = await Client.to(proxy)
        await client.ask(b"hello")
        client.close()
        for _ in range(turns):
            await asyncio.sleep(0)
    await eventually(lambda: echo.connections == 0)
