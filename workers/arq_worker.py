"""Our worker under arq's own command: `arq workers.Settings`.

arq 0.28 takes, claims, retries and finishes in ways that lose or double jobs (docs/decisions/0003), so `JobWorker`
keeps arq's command, settings, queue names and wire format, and replaces its running whole.
"""

import sys
from collections.abc import Mapping, Sequence
from dataclasses import fields, replace
from typing import Any, NoReturn, cast
from urllib.parse import unquote, urlsplit

import arq.worker
from arq.connections import RedisSettings
from arq.worker import Function, func

from db.lifecycle import Priority
from db.settings import SettingsRefusedError, read
from workers import command
from workers.hints import ARQ_FUNCTION, health_key, queue_name
from workers.redis_client import sentinel_address, tls_options
from workers.settings import WorkerSettings


async def run(_ctx: dict[Any, Any], job_id: str) -> None:
    """The one function that arq knows of. Only a hint is enqueued under it; our worker claims the job instead."""
    raise RuntimeError(
        f"job {job_id} was taken by a stock arq worker, which holds no lease; start it with `arq workers.Settings`"
    )


class JobWorker(arq.worker.Worker):
    """What arq's command makes of our settings and runs.

    Its parameters stand in the signature, because arq passes on only those settings whose names it finds there.
    """

    def __init__(
        self,
        functions: Sequence[Function] = (),
        *,
        queue_name: str | None = None,
        redis_settings: RedisSettings | None = None,
        health_check_key: str | None = None,
        burst: bool = False,
        priorities: Sequence[Priority] = tuple(Priority),
    ) -> None:
        # arq's own constructor is not called: it makes an event loop, a pool and signal handlers that are not ours.
        self.functions = {function.name: function for function in functions}
        self.queue_name = queue_name or ""
        self.redis_settings = redis_settings
        self.health_check_key = health_check_key or ""
        self.burst = burst
        self.priorities = tuple(priorities)

    def run(self) -> None:
        """Runs until it ends, as arq's command asks for."""
        settings = _settings(self.priorities)
        status = command.run(settings, burst=bool(self.burst))
        if status:
            sys.exit(status)

    def async_run(self) -> NoReturn:
        """What `arq --watch` calls: it would cancel running jobs at every change of a file.

        Raises at once, because what is raised inside a task of its own comes with a traceback.
        """
        raise SystemExit("errander: arq --watch is not supported; `errander dev --tasks your.tasks` reloads on save")

    async def close(self) -> None:
        """What arq calls when `--watch` was refused: arq's own would look for what its constructor had made."""


def _settings(priorities: Sequence[Priority]) -> WorkerSettings:
    try:
        return read(WorkerSettings, priorities=tuple(priorities))
    except SettingsRefusedError as error:
        for line in error.lines:
            print(f"arq workers: {line}", file=sys.stderr)  # noqa: T201 - the last words of a command
        raise SystemExit(2) from None


def _redis_settings(url: str) -> RedisSettings:
    """The address as arq's `--check` takes it: with its TLS options, its escapes undone, and sentinels too."""
    if urlsplit(url).scheme == "redis+sentinel":
        address = sentinel_address(url)
        return RedisSettings(
            host=address.hosts,
            sentinel=True,
            sentinel_master=address.service,
            database=address.database,
            username=address.username,
            password=address.password,
        )
    plain = RedisSettings.from_dsn(url)
    names = {field.name for field in fields(RedisSettings)}
    given = {name: value for name, value in tls_options(url).items() if name in names}
    return replace(
        plain, username=unquote(plain.username or "") or None, password=unquote(plain.password or "") or None, **given
    )


SETTINGS: Mapping[str, tuple[Priority, ...]] = {
    "Settings": tuple(Priority),
    "HighSettings": (Priority.HIGH,),
    "DefaultSettings": (Priority.DEFAULT,),
    "LowSettings": (Priority.LOW,),
}
"""The settings classes by name, and what each serves."""


def settings_class(name: str) -> type:
    """The class for `arq workers.<name>`, from the environment as it is now; arq's command will run our worker.

    The class is built whole, because arq reads its own `__dict__`: inheritance would lose attributes.
    """
    # arq has no setting for the worker's class: its command looks this name up.
    arq.worker.Worker = JobWorker  # type: ignore[misc,assignment]  # deliberately not what arq declares
    priorities = SETTINGS[name]
    settings = _settings(priorities)
    attributes = {
        "functions": [func(cast("Any", run), name=ARQ_FUNCTION)],
        "queue_name": queue_name(settings.pool, str(priorities[0])),
        "redis_settings": _redis_settings(settings.redis_url.get_secret_value()),
        "health_check_key": health_key(settings.pool, priorities),
        "priorities": priorities,
        "__doc__": f"arq settings of a worker for {', '.join(priorities)}.",
    }
    return type(name, (), attributes)
