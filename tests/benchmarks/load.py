"""Load over HTTP from a process of its own: `python -m tests.benchmarks.load`, a `Load` as JSON in, a `Taken` as JSON out.

Each connection sends a request, reads the whole answer and sends the next, as `wrk` does. Requests are bytes made
beforehand and answers are only scanned for their status and length, so that a request costs the sender a few tens of
microseconds, and the server is what is measured. `Taken.busy` says how much of a core the sender itself used.

Bounded in time and connections, and for loopback only.
"""

import asyncio
import itertools
import json
import sys
import time
import uuid
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Final, cast

import uvloop

from tests.benchmarks.figures import percentile

HOST: Final = "127.0.0.1"
_ROOT: Final = Path(__file__).parents[2]
_MOST_SECONDS = 120.0
_MOST_CONNECTIONS = 256
# A share of the time that is not counted: connections open, caches fill.
_WARM_UP = 0.15
_BUSIEST = 0.85
_SHOWN = 500
_LAST_SECONDS = 30.0


@dataclass(frozen=True, slots=True)
class Load:
    """What to send: `paths` in turn, each with `body` where there is one, and a fresh key each where `keyed`.

    `token` is the credential, if any.
    """

    port: int
    method: str
    paths: tuple[str, ...]
    body: str | None = None
    keyed: bool = False
    connections: int = 32
    seconds: float = 3.0
    token: str | None = None


@dataclass(frozen=True, slots=True)
class Taken:
    """What was answered in the time that counts. Latencies in seconds; `statuses` has every status with its count."""

    answers: int
    seconds: float
    mean: float
    p50: float
    p99: float
    statuses: dict[str, int]
    busy: float
    refused: str = ""
    """The end of the first answer that was no success, warm-up included."""

    @property
    def rate(self) -> float:
        """Answers a second."""
        return self.answers / self.seconds

    @property
    def is_sender_the_limit(self) -> bool:
        """Whether the sender had hardly any time left, so that the server may be faster than this."""
        return self.busy > _BUSIEST


async def run(load: Load) -> Taken:
    """Applies a load from another process. Raises RuntimeError unless every answer had a status of 200 to 299."""
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "tests.benchmarks.load"),
        cwd=_ROOT,
        stdin=asyncio.subprocess.PIPE,
        stdout=asyncio.subprocess.PIPE,
    )
    try:
        async with asyncio.timeout(load.seconds + 60):
            out, _ = await process.communicate(json.dumps(asdict(load)).encode())
    finally:
        if process.returncode is None:
            process.kill()
            await process.wait()
    if process.returncode:
        raise RuntimeError(f"the load on {load.paths[0]} ended with {process.returncode}")
    taken = Taken(**json.loads(out))
    if taken.answers == 0 or taken.refused:
        raise RuntimeError(f"{load.method} {load.paths[0]} was answered {taken.statuses}: {taken.refused}")
    return taken


class _Counted:
    """What all connections count together."""

    def __init__(self) -> None:
        self.latencies: list[float] = []
        self.statuses: dict[str, int] = {}
        self.counting = False
        self.over = False
        self.refused = ""

    def add(self, answer: bytes, seconds: float) -> None:
        """Takes a whole answer."""
        status = answer[9:12].decode("ascii")
        if not status.startswith("2"):
            self.refused = self.refused or answer[-_SHOWN:].decode(errors="replace")
        if self.counting:
            self.latencies.append(seconds)
            self.statuses[status] = self.statuses.get(status, 0) + 1


class Requests:
    """The bytes of one request after another."""

    def __init__(self, load: Load) -> None:
        body = (load.body or "").encode()
        credential = f"Authorization: Bearer {load.token}\r\n" if load.token else ""
        self._heads = itertools.cycle(
            [
                (
                    f"{load.method} {path} HTTP/1.1\r\nHost: {HOST}:{load.port}\r\nAccept: application/json\r\n"
                    + credential
                    + (f"Content-Type: application/json\r\nContent-Length: {len(body)}\r\n" if body else "")
                ).encode()
                for path in load.paths
            ]
        )
        self._tail = b"\r\n" + body
        self._key = f"Idempotency-Key: {uuid.uuid4().hex}-" if load.keyed else ""
        self._numbers = itertools.count()

    def next(self) -> bytes:
        """The next one."""
        key = f"{self._key}{next(self._numbers)}\r\n".encode() if self._key else b""
        return next(self._heads) + key + self._tail


class Connection(asyncio.Protocol):
    """One connection with one request under way."""

    def __init__(self, requests: Requests, counted: _Counted) -> None:
        self._requests = requests
        self._counted = counted
        self._transport: asyncio.Transport | None = None
        self._answer = bytearray()
        self._length = -1
        self._sent = 0.0
        self.closed = asyncio.get_running_loop().create_future()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Begins."""
        self._transport = cast("asyncio.Transport", transport)  # uvloop's own class, alike but not derived
        self._send()

    def data_received(self, data: bytes) -> None:
        """Takes a part of an answer; sends the next request when it is whole."""
        self._answer += data
        if self._length < 0:
            self._length = whole_length(self._answer)
        if 0 <= self._length <= len(self._answer):
            self._counted.add(bytes(self._answer), time.perf_counter() - self._sent)
            self._answer.clear()
            self._length = -1
            if self._counted.over:
                self.close()
            else:
                self._send()

    def connection_lost(self, exc: Exception | None) -> None:
        """Ends."""
        if not self.closed.done():
            self.closed.set_result(None)

    def close(self) -> None:
        """Ends the connection."""
        if self._transport is not None:
            self._transport.close()

    def _send(self) -> None:
        assert self._transport is not None
        self._sent = time.perf_counter()
        self._transport.write(self._requests.next())


def whole_length(answer: bytes | bytearray) -> int:
    """Bytes of an answer, head and body; -1 while its head is not complete. Raises ValueError for one without length."""
    end = answer.find(b"\r\n\r\n")
    if end < 0:
        return -1
    head = bytes(answer[:end]).lower()
    at = head.find(b"\r\ncontent-length:")
    if at < 0:
        raise ValueError("an answer has no Content-Length")
    value = head[at + 17 :].split(b"\r\n", 1)[0]
    return end + 4 + int(value)


async def _apply(load: Load) -> Taken:
    if not 0 < load.seconds <= _MOST_SECONDS or not 0 < load.connections <= _MOST_CONNECTIONS:
        raise ValueError(f"at most {_MOST_SECONDS:g} s and {_MOST_CONNECTIONS} connections")
    loop = asyncio.get_running_loop()
    counted, requests = _Counted(), Requests(load)
    connections: list[Connection] = []
    for _ in range(load.connections):
        _, made = await loop.create_connection(lambda: Connection(requests, counted), HOST, load.port)
        connections.append(made)
    await asyncio.sleep(load.seconds * _WARM_UP)
    counted.counting = True
    began, cpu = time.perf_counter(), time.process_time()
    await asyncio.sleep(load.seconds)
    counted.counting = False
    took, used = time.perf_counter() - began, time.process_time() - cpu
    lost = sum(one.closed.done() for one in connections)
    # What is under way is waited for: it must not run on into the next measurement.
    counted.over = True
    await asyncio.wait([one.closed for one in connections], timeout=_LAST_SECONDS)
    for one in connections:
        one.close()
    if lost:
        raise RuntimeError(f"{lost} connections were closed by the server")
    latencies = counted.latencies or [0.0]
    return Taken(
        answers=len(counted.latencies),
        seconds=took,
        mean=sum(latencies) / len(latencies),
        p50=percentile(latencies, 0.5),
        p99=percentile(latencies, 0.99),
        statuses=counted.statuses,
        busy=used / took,
        refused=counted.refused,
    )


def main() -> None:
    """Reads what to send, sends it, prints what came of it."""
    found = json.load(sys.stdin)
    load = Load(**{**found, "paths": tuple(found["paths"])})
    print(json.dumps(asdict(uvloop.run(_apply(load)))))


if __name__ == "__main__":
    main()
