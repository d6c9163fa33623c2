"""The environment that the parts of `errander dev` run in."""

import os
from collections.abc import Mapping
from pathlib import Path

import service
from db.settings import SettingsRefusedError, content
from service.dev.options import DevError, DevOptions

# Each may come as NAME_FILE too: what is set here must not be overruled by a file of the outer environment.
_OURS = ("DATABASE_URL", "REDIS_URL", "ERRANDER_URL", "ERRANDER_TASKS", "ERRANDER_BUILTIN_TASKS", "ERRANDER_MIGRATE")
# These would change what a part is: `errander dev` starts the workers itself and gives each part its own address.
_DROPPED = ("ERRANDER_WITH_WORKER", "ERRANDER_HOST", "ERRANDER_PORT", "ERRANDER_METRICS_PORT", "ERRANDER_TOKEN")


def shared_values(options: DevOptions, database_url: str, redis_url: str, environ: Mapping[str, str]) -> dict[str, str]:
    """What the env file says: enough for a worker in another shell to be like the ones started here.

    No value has a blank, because shells read the file by `export $(cat …)`.
    """
    groups = environ.get("ERRANDER_BUILTIN_TASKS", "all").split(",")
    return {
        "DATABASE_URL": database_url,
        "REDIS_URL": redis_url,
        "ERRANDER_URL": options.url,
        "ERRANDER_TASKS": ",".join(options.tasks),
        "ERRANDER_BUILTIN_TASKS": ",".join(group.strip() for group in groups),
    }


def part_environment(
    shared: Mapping[str, str], environ: Mapping[str, str], *, metrics_port: int, folder: Path
) -> dict[str, str]:
    """The whole environment of one part. `folder` is where the user's task modules are looked for, last."""
    dropped = {*_DROPPED, *(f"{name}_FILE" for name in (*_OURS, *_DROPPED))}
    values = {name: value for name, value in environ.items() if name not in dropped}
    values.setdefault("ERRANDER_AUTH", "off")
    values.setdefault("ERRANDER_LOG_FORMAT", "console")
    return {
        **values,
        **shared,
        "ERRANDER_MIGRATE": "auto",
        "ERRANDER_METRICS_PORT": str(metrics_port),
        # A worker that retires ends with exit code 75 instead of starting itself anew.
        "ERRANDER_SUPERVISED": "1",
        "PYTHONPATH": python_path(environ.get("PYTHONPATH", ""), folder),
        "PYTHONUNBUFFERED": "1",
    }


def python_path(present: str, folder: Path) -> str:
    """The search path of a part: the server's folder first, so that a user's `db` or `service` cannot shadow ours."""
    root = Path(service.__file__).parents[1]
    return os.pathsep.join([str(root), *(entry for entry in present.split(os.pathsep) if entry), str(folder)])


def external_address(name: str, environ: Mapping[str, str]) -> str:
    """An address for `--external`: NAME, or the content of the file NAME_FILE. Raises DevError when neither is set."""
    if value := environ.get(name):
        return value.strip()
    path = environ.get(f"{name}_FILE")
    if not path:
        raise DevError(f"--external needs {name} in the environment", exit_code=2)
    try:
        return content(name, path)
    except SettingsRefusedError as error:
        raise DevError(str(error), exit_code=2) from error
