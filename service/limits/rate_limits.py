"""Requests a credential and a tenant may send, and secrets of a key that a network may get wrong.

What is counted is named by a digest: nothing in Redis says who a tenant is.
"""

import asyncio
import hashlib
from collections.abc import Coroutine, Sequence
from math import ceil
from typing import Any, Final, TypeVar

import structlog
from starlette.types import Scope

from service.auth.principal import Principal
from service.http.problems import Problem
from service.limits.counters import CALL_SECONDS, Counters
from service.limits.guesses import Guesses
from service.limits.rates import Rate, rate_of, say, unsay
from service.limits.window import Window
from service.settings import ApiSettings

_log = structlog.get_logger("errander.limits")

K = TypeVar("K")
V = TypeVar("V")

JOBS_A_REQUEST: Final = 100
"""So many jobs of a batch count as one request."""
_MOST: Final = 10_000
"""Identities that are remembered; they are forgotten all at once, which costs each at most a lot."""


class RateLimits:
    """Owned by a process. Without `auth` nobody can be told apart, and nothing is limited."""

    def __init__(self, settings: ApiSettings, *, patience: float = CALL_SECONDS) -> None:
        is_on = settings.auth == "required"
        self._key = rate_of("key", settings.rate_limit_key) if is_on else None
        self._tenant = rate_of("tenant", settings.rate_limit_tenant) if is_on else None
        self.guesses = Guesses(rate_of("auth", settings.rate_limit_auth) if is_on else None)
        if not is_on and (settings.rate_limit_key or settings.rate_limit_tenant):
            _log.warning("limits.off", hint="ERRANDER_AUTH is off, so credentials and tenants cannot be told apart")
        self._counters = Counters(settings.redis_url.get_secret_value(), patience=patience)
        self._policies = ", ".join(rate.policy for rate in (self._key, self._tenant) if rate is not None)
        self._of_principal: dict[tuple[str, str], Sequence[Window]] = {}
        self._of_tenant: dict[str, Window] = {}
        self._tasks: set[asyncio.Task[None]] = set()

    @property
    def counters(self) -> Counters:
        """Where it is counted."""
        return self._counters

    async def stop(self) -> None:
        """Ends what is under way and closes the connections."""
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        await self._counters.stop()

    async def admit(self, principal: Principal, request_scope: Scope, cost: int = 1) -> None:
        """Counts a request, and gives its answer `RateLimit-Policy` and `RateLimit`. Raises Problem `quota-exceeded`.

        Does not wait where permits are at hand.
        """
        if not self._policies:
            return
        windows = self._windows_of(principal)
        refused = None
        for window in windows:
            # Before anything is taken: what one policy refuses is then mostly not counted by the other.
            if window.is_closed:
                refused = window
        if refused is None:
            for window in windows:
                if not (cost == 1 and window.take_one()) and not await window.take(cost):
                    refused = window
                    break
        say(request_scope, self._policies, ", ".join([window.state for window in windows]))
        if refused is not None:
            raise _exceeded(refused, cost)

    async def charge_batch(self, principal: Principal, request_scope: Scope, jobs: int) -> None:
        """Counts the rest of a batch of so many jobs, of which the guard counted one request already.

        A batch never costs more than half a quota: otherwise a large one would be refused whatever else is sent.
        Raises Problem `quota-exceeded`.
        """
        quotas = [rate.quota for rate in (self._key, self._tenant) if rate is not None]
        cost = min([ceil(jobs / JOBS_A_REQUEST), *(quota // 2 for quota in quotas)]) - 1
        if quotas and cost > 0:
            unsay(request_scope)
            await self.admit(principal, request_scope, cost)

    def _windows_of(self, principal: Principal) -> Sequence[Window]:
        who = principal.tenant, principal.key_id or principal.name
        found = self._of_principal.get(who)
        if found is None:
            windows = [] if self._key is None else [self._window(self._key, *who)]
            if self._tenant is not None:
                windows.append(self._window_of_tenant(self._tenant, principal.tenant))
            found = _kept(self._of_principal, who, windows)
        return found

    def _window_of_tenant(self, rate: Rate, tenant: str) -> Window:
        found = self._of_tenant.get(tenant)
        return found or _kept(self._of_tenant, tenant, self._window(rate, tenant))

    def _window(self, rate: Rate, *identity: str) -> Window:
        named = hashlib.blake2b("\0".join(identity).encode(errors="surrogatepass"), digest_size=16).hexdigest()
        return Window(rate, f"{rate.name}/{named}", self._counters, self._spawn)

    def _spawn(self, work: Coroutine[Any, Any, None]) -> None:
        task = asyncio.create_task(work, name="errander.limits.fetch")
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)


def _kept(known: dict[K, V], name: K, value: V) -> V:
    if len(known) >= _MOST:
        known.clear()
    known[name] = value
    return value


def _exceeded(window: Window, cost: int) -> Problem:
    rate = window.rate
    whose = "this credential" if rate.name == "key" else "this tenant"
    asked = "" if cost == 1 else f", and the rest of this batch counts as {cost}"
    # One more is let in when the window opens, several when so many have come back.
    seconds = window.opens_in if cost == 1 else max(window.opens_in, ceil(rate.seconds * cost / rate.quota))
    return Problem(
        "quota-exceeded",
        f"{whose} may send {rate.quota} requests in {rate.seconds} s{asked}; send this again in {seconds} s",
        headers={"Retry-After": str(seconds)},
        **{"violated-policies": [rate.name]},
    )
