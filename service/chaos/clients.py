"""The clients of a run: they submit and act over HTTP, switch to the other API when one is down, and remember.

A request with a key is sent again until it is answered; one without is sent again only if it cannot have reached
anybody. What a lost answer leaves open stays `unknown`, and the checkers demand that it is no job or one.
"""

import asyncio
import random
import time
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime, timedelta
from typing import Any, Final, Self

import httpx

from service.chaos.record import Outcome, Records, Request, Seen
from service.chaos.workload import MARK, TASKS, TENANTS, Act, Body, Step, Submit, other

ANSWER_SECONDS: Final = 15.0
"""How long an answer may take; the API itself gives up on PostgreSQL sooner."""
_PAUSE_SECONDS = (0.1, 0.8)  # between two tries
_PATIENCE_SECONDS = 30.0  # for acts, which nothing depends on
_AT_ONCE = 150  # requests; more would only wait in the clients themselves

_CONFLICTS = (404, 409, 422)
"""What an act may be answered with: the job has moved on."""
_REFUSALS = (400, 404, 405, 413, 415, 422)
_NEVER = (401, 403, 500)
"""What no request of a run deserves: every one carries a key that may do it, and no outage is an excuse."""


class Clients:
    """All clients of one run, over `urls`, the APIs; `keys` are the tenants' API keys."""

    def __init__(self, urls: Sequence[str], seed: int, keys: Mapping[str, str]) -> None:
        self.records = Records()
        self._urls = tuple(urls)
        self._headers = {tenant: {"Authorization": f"Bearer {key}"} for tenant, key in keys.items()}
        self._random = random.Random(f"{seed}:clients")
        self._http = httpx.AsyncClient(
            timeout=ANSWER_SECONDS, limits=httpx.Limits(max_connections=_AT_ONCE, max_keepalive_connections=20)
        )
        self._room = asyncio.Semaphore(_AT_ONCE)
        self._under_way: set[asyncio.Task[None]] = set()
        self._sent: dict[str, tuple[Request, Submit]] = {}
        """Token → what was answered with 202, for acts to choose from."""
        self._jobs: list[tuple[str, str]] = []
        """(job, tenant) of each."""
        self._owners: dict[str, str] = {}
        """Token of a job → tenant."""
        self._over = asyncio.Event()
        """Set: nothing is tried again any more."""

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_: object) -> None:
        for task in self._under_way:
            task.cancel()
        await asyncio.gather(*self._under_way, return_exceptions=True)
        await self._http.aclose()

    async def follow(self, steps: Sequence[Step]) -> None:
        """Does everything at its time; returns when the last step has begun."""
        began = time.monotonic()
        for step in steps:
            await asyncio.sleep(max(0.0, began + step.at - time.monotonic()))
            does = step.does
            work = self._submit(does) if isinstance(does, Submit) else self._act(does)
            task = asyncio.create_task(work)
            self._under_way.add(task)
            task.add_done_callback(self._under_way.discard)

    async def settle(self, seconds: float) -> None:
        """Returns when every request has been answered or given up; after `seconds` nothing is tried again."""
        if self._under_way:
            await asyncio.wait(self._under_way, timeout=seconds)
        self._over.set()
        if self._under_way:
            await asyncio.wait(self._under_way)
        for request, _ in self._sent.values():
            if request.outcome is Outcome.NEVER_SENT and request.tries and request.key is not None:
                request.outcome = Outcome.UNANSWERED

    async def resume_everything(self, queues: Sequence[str]) -> None:
        """Ends every pause, trying until it is answered."""
        for path in [f"/v1/queues/{queue}/resume" for queue in queues] + [f"/v1/tasks/{t}/resume" for t in TASKS]:
            while (answer := await self._ask(TENANTS[0], "POST", path)) is None or answer.status_code != 200:
                await self._pause()

    # -- submitting --------------------------------------------------------------------------------------------------

    async def _submit(self, submit: Submit) -> None:
        request = Request(
            submit.token,
            submit.tokens,
            submit.tenant,
            delays=tuple(body.get("delay", 0.0) for body in submit.bodies),
            key=submit.key,
            keys=tuple(body.get("idempotency_key") for body in submit.bodies),
        )
        self.records.requests.append(request)
        self._sent[submit.token] = (request, submit)
        self._owners |= dict.fromkeys(submit.tokens, submit.tenant)
        async with self._room:
            if submit.race:
                await asyncio.gather(*(self._until_answered(request, submit, first=url) for url in self._urls))
            else:
                await self._until_answered(request, submit, first=self._random.choice(self._urls))

    async def _until_answered(self, request: Request, submit: Submit, *, first: str) -> None:
        url = first
        while not self._over.is_set():
            if not await self._again(request, submit, url):
                return
            await self._pause()
            url = self._other(url)

    async def _again(self, request: Request, submit: Submit, url: str) -> bool:
        """Sends it once; whether to send it again."""
        headers = {} if submit.key is None else {"Idempotency-Key": submit.key}
        path, body = ("/v1/jobs/batch", {"jobs": submit.bodies}) if submit.batch else ("/v1/jobs", submit.bodies[0])
        request.tries += 1
        try:
            answer = await self._exchange(submit.tenant, "POST", url + path, body, headers)
        except (httpx.ConnectError, httpx.ConnectTimeout, httpx.PoolTimeout) as error:
            request.detail = repr(error)
            return True  # it never left
        except httpx.HTTPError as error:
            return _lost(request, repr(error))
        if answer.status_code == 202:
            self._take(request, submit, answer.json())
            return False
        if answer.status_code in _REFUSALS:
            if request.outcome is not Outcome.ACCEPTED:
                request.outcome = Outcome.REFUSED
            request.detail = f"{answer.status_code} {answer.text[:500]}"
            return False
        return _lost(request, f"{answer.status_code} {answer.text[:500]}")

    def _take(self, request: Request, submit: Submit, document: Any) -> None:
        known = request.outcome is Outcome.ACCEPTED
        request.accepted(tuple(job["id"] for job in document["jobs"]) if submit.batch else (document["id"],))
        if not known:
            self._jobs.extend((job, submit.tenant) for job in request.ids)

    # -- acting ------------------------------------------------------------------------------------------------------

    async def _act(self, act: Act) -> None:
        async with self._room:
            match act.name:
                case "submit-again":
                    await self._submit_again(act)
                case "pause-queue":
                    await self._paused(act, f"/v1/queues/{act.word}")
                case "pause-task":
                    await self._paused(act, f"/v1/tasks/{act.word}")
                case "replay-dead":
                    body = {"filter": {"priority": act.word}, "limit": 10}
                    self._count(act, await self._ask(act.tenant, "POST", "/v1/dead-letter/replay", body))
                case "list":
                    await self._list(act)
                case _:
                    await self._act_on_a_job(act)

    async def _act_on_a_job(self, act: Act) -> None:
        if not self._jobs:
            return
        # newer ones more often: most of the older ones have ended
        job, tenant = self._jobs[-1 - int(len(self._jobs) * act.draw**3)]
        method, path, body = _request_of(act, job)
        if act.foreign:
            await self._trespass(other(tenant), method, path, body)
            return
        sent = time.monotonic()
        answer = await self._ask(tenant, method, path, body)
        if self._count(act, answer) and answer is not None:
            found = answer.json()
            self.records.seen.append(
                Seen(job, found["status"], found["attempt"], found["replays"], sent, time.monotonic(), act.name)
            )

    async def _trespass(self, tenant: str, method: str, path: str, body: Body | None) -> None:
        """Does it as somebody whose job it is not: there must be no such job."""
        answer = await self._ask(tenant, method, path, body)
        if answer is None:
            return
        self._note("trespass")
        if answer.status_code != httpx.codes.NOT_FOUND:
            said = f"{answer.status_code} {answer.text[:500]}"
            self.records.foreign.append(f"{tenant!r} asked for {method} {path}, another tenant's, and got {said}")

    async def _list(self, act: Act) -> None:
        """Reads the newest jobs, and looks whose they are."""
        answer = await self._ask(act.tenant, "GET", "/v1/jobs")
        if not self._count(act, answer) or answer is None:
            return
        for job in answer.json()["items"]:
            owner = self._owners.get(job["metadata"].get(MARK))
            if owner != act.tenant:
                self.records.foreign.append(f"{act.tenant!r} found job {job['id']} of {owner!r} in a list")

    async def _submit_again(self, act: Act) -> None:
        """A client that does not know that it has been answered."""
        keyed = [one for one in self._sent.values() if one[0].key is not None and one[0].outcome is Outcome.ACCEPTED]
        if not keyed:
            return
        request, submit = keyed[int(len(keyed) * act.draw)]
        if not await self._again(request, submit, self._random.choice(self._urls)):
            self._note(act.name)

    async def _paused(self, act: Act, path: str) -> None:
        if not self._count(act, await self._ask(act.tenant, "POST", f"{path}/pause", {"reason": "chaos"})):
            return
        await asyncio.wait({asyncio.create_task(self._over.wait())}, timeout=act.seconds)
        await self._ask(act.tenant, "POST", f"{path}/resume")

    def _count(self, act: Act, answer: httpx.Response | None) -> bool:
        """Whether it was done."""
        if answer is None or not answer.is_success:
            return False
        self._note(act.name)
        return True

    def _note(self, name: str) -> None:
        self.records.acts[name] = self.records.acts.get(name, 0) + 1

    # -- over the wire -----------------------------------------------------------------------------------------------

    async def _ask(self, tenant: str, method: str, path: str, body: Body | None = None) -> httpx.Response | None:
        """An answer that says something, from whichever API gives one; None where none does in time.

        A change may be made twice by this: clients that have lost an answer do so.
        """
        url = self._random.choice(self._urls)
        deadline = time.monotonic() + _PATIENCE_SECONDS
        while time.monotonic() < deadline:
            try:
                answer = await self._exchange(tenant, method, url + path, body, {})
            except httpx.HTTPError:
                answer = None
            if answer is not None and (answer.is_success or answer.status_code in _CONFLICTS):
                return answer
            if self._over.is_set():
                return None
            await self._pause()
            url = self._other(url)
        return None

    async def _exchange(
        self, tenant: str, method: str, url: str, body: Body | dict[str, Any] | None, headers: dict[str, str]
    ) -> httpx.Response:
        began, status = time.monotonic(), 0
        try:
            answer = await self._http.request(method, url, json=body, headers=self._headers[tenant] | headers)
            status = answer.status_code
        finally:
            records = self.records
            records.statuses[status] = records.statuses.get(status, 0) + 1
            records.slowest = max(records.slowest, time.monotonic() - began)
        problem = answer.headers.get("content-type", "").startswith("application/problem+json")
        if status in _NEVER or (status >= 400 and not problem):
            self.records.internal.append(f"{method} {url}: {status} {answer.text[:500]}")
        return answer

    async def _pause(self) -> None:
        await asyncio.sleep(self._random.uniform(*_PAUSE_SECONDS))

    def _other(self, url: str) -> str:
        return self._urls[(self._urls.index(url) + 1) % len(self._urls)]


def _lost(request: Request, detail: str) -> bool:
    """No answer that decides anything; whether to send it again."""
    request.detail = detail
    if request.key is not None:
        return True
    request.outcome = Outcome.UNKNOWN
    return False


def _request_of(act: Act, job: str) -> tuple[str, str, Body | None]:
    path = f"/v1/jobs/{job}"
    match act.name:
        case "get":
            return "GET", path, None
        case "edit-priority":
            return "PATCH", path, {"priority": act.word}
        case "edit-pool":
            return "PATCH", path, {"pool": act.word}
        case "edit-run-at":
            return "PATCH", path, {"run_at": (datetime.now(UTC) + timedelta(seconds=act.seconds)).isoformat()}
        case _:
            return "POST", f"{path}/{act.name}", None
