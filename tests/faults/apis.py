"""Real `errander api` processes, started like the workers of a test and asked over HTTP."""

import contextlib
from collections.abc import AsyncIterator
from typing import Any

import httpx

from db.engine import Database
from service.supervise import free_port
from tests.faults.processes import ERRANDER, Fleet, Worker
from tests.fixtures.waiting import eventually
from workers import catalogue

_READY_SECONDS = 60.0
_ANSWER_SECONDS = 30.0


class Api:
    """One API process and a client of it."""

    def __init__(self, process: Worker, client: httpx.AsyncClient) -> None:
        self.process = process
        self.client = client

    async def ready(self) -> "Api":
        """Waits until it answers."""

        async def answers() -> bool:
            assert self.process.alive, self.process.log
            try:
                return (await self.client.get("/healthz")).is_success
            except httpx.TransportError:
                return False

        await eventually(answers, _READY_SECONDS, message=lambda: f"it does not answer:\n{self.process.log}")
        return self

    async def submit(self, task: str = "fault.quick", key: str | None = None, **body: Any) -> httpx.Response:
        """Submits one job, under a key where one is given. Raises httpx.TransportError where no answer comes."""
        return await self.client.post("/v1/jobs", json={"task": task, **body}, headers=_headers(key))

    async def submit_batch(self, jobs: list[dict[str, Any]], key: str | None = None) -> httpx.Response:
        """Submits a batch, under a key where one is given."""
        return await self.client.post("/v1/jobs/batch", json={"jobs": jobs}, headers=_headers(key))


def _headers(key: str | None) -> dict[str, str]:
    return {} if key is None else {"Idempotency-Key": key}


@contextlib.asynccontextmanager
async def serving(fleet: Fleet, *environments: dict[str, Any]) -> AsyncIterator[list[Api]]:
    """An API process for each environment, all of them ready."""
    async with contextlib.AsyncExitStack() as stack:
        apis = []
        for environment in environments:
            port = free_port()
            command = (ERRANDER[0], "api", "--port", str(port))
            process = fleet.start(command=command, ERRANDER_AUTH="off", **environment)
            url = f"http://127.0.0.1:{port}"
            client = await stack.enter_async_context(httpx.AsyncClient(base_url=url, timeout=_ANSWER_SECONDS))
            apis.append(Api(process, client))
        for api in apis:
            await api.ready()
        yield apis


async def announce(database: Database) -> None:
    """Makes the tasks known to the API before any worker runs."""
    await catalogue.announce(database.link, catalogue.load(("tests.faults.tasks",), ("demo",)))
