"""What `errander dev` was asked to do, checked before anything is started."""

import ipaddress
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path


class DevError(Exception):
    """`errander dev` cannot go on; the message is one line for the terminal. `exit_code`: 2 usage, 1 the rest."""

    def __init__(self, message: str, *, exit_code: int = 1) -> None:
        super().__init__(message)
        self.exit_code = exit_code


@dataclass(frozen=True, slots=True, kw_only=True)
class DevOptions:
    """The command line of `errander dev`."""

    host: str
    port: int
    data_dir: Path
    workers: int
    tasks: tuple[str, ...]
    reload: bool
    fresh: bool
    external: bool

    @property
    def url(self) -> str:
        """Where this machine finds the API."""
        host = self.reachable_host
        return f"http://[{host}]:{self.port}" if ":" in host else f"http://{host}:{self.port}"

    @property
    def reachable_host(self) -> str:
        """`host`, or loopback where it stands for every address."""
        return {"0.0.0.0": "127.0.0.1", "::": "::1"}.get(self.host, self.host)  # noqa: S104  # compared, not bound

    def check(self, environ: Mapping[str, str]) -> None:
        """Raise DevError for what must not be served."""
        if not is_loopback(self.host) and environ.get("ERRANDER_AUTH") != "required":
            raise DevError(
                f"--host {self.host} can be reached from elsewhere: set ERRANDER_AUTH=required for it", exit_code=2
            )


def is_loopback(host: str) -> bool:
    """Whether only this machine reaches the address; of names only `localhost` is taken for one."""
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"
