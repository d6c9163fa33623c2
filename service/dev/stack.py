"""The parts of `errander dev` and the order they come up in.

    servers → migrate → announce → API and workers → ready

The servers are embedded (or, with `--external`, somebody else's). Each part is a child process of its own; what dies
is started again. When a task module is saved its tasks are announced anew, and new workers take over while the old
ones drain; while a module cannot be imported the old workers go on.
"""

import asyncio
import os
import shutil
import sys
from collections.abc import Awaitable, Callable, Mapping
from pathlib import Path
from signal import SIGTERM

from pydantic import ValidationError

from db.errors import DatabaseError
from service.dev import first_key
from service.dev.environment import external_address, part_environment, python_path, shared_values
from service.dev.folder import DataFolder
from service.dev.options import DevError, DevOptions
from service.dev.reload import Saves, watched_folders
from service.embedded import EmbeddedError, EmbeddedPostgres, EmbeddedServer, EmbeddedValkey
from service.settings import KeySettings, pepper_of
from service.supervise import (
    Console,
    Output,
    Part,
    PartError,
    Restart,
    StopSignals,
    Supervisor,
    free_port,
    http_ready,
    last_lines,
    port_taken,
)

_SERVERS, _API, _WORKERS = 0, 1, 2
_LAST_LINES = 15
# After a crash PostgreSQL replays its log first, Valkey reads its file.
_RECOVERY_SECONDS = 300.0


class Stack:
    """Everything `errander dev` runs.

    `environ` is the outer environment, `folder` the user's current one; `grace` is how many seconds a part may take to
    end.
    """

    def __init__(
        self,
        options: DevOptions,
        data: DataFolder,
        console: Console,
        environ: Mapping[str, str],
        folder: Path,
        *,
        grace: float,
    ) -> None:
        self._options = options
        self._data = data
        self._console = console
        self._environ = environ
        self._folder = folder
        self._grace = grace
        self._program = _errander()
        self._supervisor = Supervisor(console, records=data.records)
        self._shared: dict[str, str] = {}

    async def run(self) -> int:
        """Start everything, run until a signal, stop everything; the exit code of the command."""
        with StopSignals(self._supervisor.hurry) as signals:
            work = asyncio.create_task(self._work())
            asked = asyncio.create_task(signals.asked.wait())
            try:
                await asyncio.wait({work, asked}, return_when=asyncio.FIRST_COMPLETED)
                if not work.done():
                    self._console.say("stopping (again to hurry) ...")
                    return 0
                work.result()
            except PartError as failure:
                for line in failure.lines:
                    self._console.say(line)
                raise DevError(str(failure)) from failure
            except EmbeddedError as error:
                raise DevError(str(error)) from error
            finally:
                work.cancel()
                asked.cancel()
                await asyncio.gather(work, asked, return_exceptions=True)
                await self._supervisor.stop()
        return 0

    async def _work(self) -> None:
        # Watched from before the first import, so that no save is missed.
        saves = self._saves()
        try:
            await self._start()
            self._say_ready()
            if saves is not None:
                await self._reload_for_ever(saves)
            await asyncio.Event().wait()
        finally:
            if saves is not None:
                await saves.close()

    async def _start(self) -> None:
        database_url, redis_url = await self._addresses()
        self._shared = shared_values(self._options, database_url, redis_url, self._environ)
        self._data.write_env(self._shared)
        await self._step("migrate", "migrate")
        if not await self._announce():
            raise DevError("the tasks cannot be loaded (see above)")
        await self._first_key(database_url)
        self._console.say("starting the API and the workers ...")
        await self._supervisor.start([self._api(), *(self._worker(n) for n in range(1, self._options.workers + 1))])

    async def _first_key(self, database_url: str) -> None:
        if not first_key.is_needed(self._environ):
            return
        try:
            settings = KeySettings.model_validate({"database_url": database_url})
            made = await first_key.first_key(database_url, settings.db_schema, pepper_of(settings))
        except (DatabaseError, ValidationError) as error:
            raise DevError(f"the first API key cannot be made: {error}") from error
        if made is not None:
            self._console.say(f"there was no API key, so this one was made; it is not shown again:\n\n  {made}\n")

    async def _addresses(self) -> tuple[str, str]:
        if self._options.external:
            return external_address("DATABASE_URL", self._environ), external_address("REDIS_URL", self._environ)
        self._console.say(f"starting PostgreSQL and Valkey in {self._data.path} ...")
        postgres, valkey = EmbeddedPostgres(self._data.postgres), EmbeddedValkey(self._data.valkey)
        await asyncio.gather(asyncio.to_thread(postgres.prepare), asyncio.to_thread(valkey.prepare))
        await self._supervisor.start([self._server("postgres", postgres), self._server("valkey", valkey)])
        return postgres.url, valkey.url

    def _server(self, name: str, server: EmbeddedServer) -> Part:
        (stop_signal, grace), *_ = server.stop_steps
        return Part(
            name=name,
            argv=server.argv,
            env=server.env,
            cwd=server.home,
            account=server.account,
            stage=_SERVERS,
            output=Output.FILE,
            log_file=self._data.log(name),
            ready=server.is_ready,
            ready_timeout=_RECOVERY_SECONDS,
            before_start=server.end_leftover,
            restart=Restart.ALWAYS,
            stop_signal=stop_signal,
            grace=grace,
            # Even in a hurry: a server that is killed has to repair itself at the next start.
            hurried_grace=grace,
        )

    def _api(self) -> Part:
        options = self._options
        return self._part(
            "api",
            ("api", "--host", options.host, "--port", str(options.port)),
            stage=_API,
            ready=http_ready(options.port, host=options.reachable_host),
        )

    def _worker(self, number: int) -> Part:
        port = free_port()
        part = ("worker", "--tasks", ",".join(self._options.tasks)) if self._options.tasks else ("worker",)
        return self._part(f"worker-{number}", part, stage=_WORKERS, ready=http_ready(port), metrics_port=port)

    def _part(
        self,
        name: str,
        arguments: tuple[str, ...],
        *,
        stage: int = _API,
        ready: Callable[[int], Awaitable[bool]] | None = None,
        metrics_port: int | None = None,
        output: Output = Output.TERMINAL,
    ) -> Part:
        port = free_port() if metrics_port is None else metrics_port
        return Part(
            name=name,
            argv=(self._program, *arguments),
            env=part_environment(self._shared, self._environ, metrics_port=port, folder=self._folder),
            cwd=self._folder,
            stage=stage,
            output=output,
            log_file=self._data.log(name),
            ready=ready,
            restart=Restart.ALWAYS,
            stop_signal=SIGTERM,
            grace=self._grace,
        )

    async def _step(self, name: str, *arguments: str) -> None:
        """Run a command that must succeed, quietly."""
        part = self._part(name, arguments, output=Output.FILE)
        code = await self._supervisor.run(part)
        if code != 0:
            raise PartError(name, f"ended with exit code {code}", last_lines(self._data.log(name), _LAST_LINES))

    async def _announce(self) -> bool:
        return await self._supervisor.run(self._part("announce", ("tasks", "announce"))) == 0

    def _saves(self) -> Saves | None:
        if not (self._options.reload and self._options.tasks and self._options.workers):
            return None
        search = python_path(self._environ.get("PYTHONPATH", ""), self._folder).split(os.pathsep)[1:]
        deep = watched_folders(self._options.tasks, self._folder, search, self._data.path)
        try:
            return Saves(self._folder, deep, self._data.path)
        except ImportError as error:
            self._console.say(f"saved task modules are not noticed: {error}")
            return None

    async def _reload_for_ever(self, saves: Saves) -> None:
        """Roll the workers at every save; says so and returns when watching is no longer possible."""
        try:
            while True:
                await self._reload(await saves.next())
        except OSError as error:
            self._console.say(f"saved task modules are not noticed from here on: {error}")

    async def _reload(self, paths: list[Path]) -> None:
        names = ", ".join(path.name for path in paths[:3])
        more = f" and {len(paths) - 3} more" if len(paths) > 3 else ""
        self._console.say(f"{names}{more} changed")
        if not await self._announce():
            self._console.say("the tasks cannot be loaded (see above): the workers go on with the code they have")
            return
        for number in range(1, self._options.workers + 1):
            await self._supervisor.replace(f"worker-{number}")
        self._console.say("new workers take over; the old ones finish what they run")

    def _say_ready(self) -> None:
        url, data = self._options.url, self._data
        wait = "?wait=10" if self._options.workers else ""
        token = (
            ' -H "Authorization: Bearer $ERRANDER_TOKEN"' if self._environ.get("ERRANDER_AUTH") == "required" else ""
        )
        job = '{"task": "demo.echo", "payload": {"hello": "world"}}'
        lines = (
            "",
            f"  API        {url}",
            f"  Docs       {url}/docs",
            f"  Try        curl -s '{url}/v1/jobs{wait}'{token} -H 'Content-Type: application/json' -d '{job}'",
            f"  Data       {data.path}   logs in {data.logs}   addresses for other shells in {data.env}",
            "",
            f"errander is ready: {url}",
        )
        self._console.say("\n".join(lines))


def check_port(options: DevOptions) -> None:
    """Raise DevError when the API's port is taken or its host is not of this machine."""
    try:
        taken = port_taken(options.port, options.host)
    except OSError as error:
        raise DevError(f"--host {options.host} cannot be served: {error.strerror}") from error
    if taken:
        raise DevError(f"port {options.port} is taken; choose another one with --port (--port 0 takes any free one)")


def _errander() -> str:
    """The command that the parts' command lines start with: the one installed beside this interpreter."""
    beside = Path(sys.executable).with_name("errander")
    found = str(beside) if beside.exists() else shutil.which("errander")
    if found is None:
        raise DevError("the command `errander` is not installed beside this Python")
    return found
