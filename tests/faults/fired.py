"""Failpoints of real processes: armed through their environment, counted by their log."""

from collections.abc import Mapping
from pathlib import Path

from service.chaos.arming import Fired, fired
from tests.faults.ledger import Ledger
from tests.fixtures.waiting import eventually


class Failpoints:
    """The failpoints of one test: one log and one file that says when, for all its processes."""

    def __init__(self, folder: Path) -> None:
        self._log = folder / "failpoints.log"
        self._when = folder / "failpoints.now"
        self.go_on = folder / "failpoints.go-on"
        """What `wait` waits for."""

    def settings(self, rules: str) -> Mapping[str, str]:
        """Environment of a process with these rules; `wait` alone waits for `go_on`."""
        return {
            "ERRANDER_ENV": "test",
            "ERRANDER_FAILPOINTS": rules.replace(":wait", f":wait({self.go_on})"),
            "ERRANDER_FAILPOINTS_LOG": str(self._log),
            "ERRANDER_FAILPOINTS_WHEN": str(self._when),
        }

    def now(self) -> None:
        """From here on they fire."""
        self._when.touch()

    def no_more(self) -> None:
        """From here on they do not."""
        self._when.unlink()

    def fired(self) -> list[Fired]:
        """What has fired so far, in the order of the log."""
        return fired(self._log)

    def names(self) -> list[str]:
        """The failpoints that have fired, sorted."""
        return sorted(one.name for one in self.fired())

    async def until(self, *names: str, timeout: float = 30.0) -> None:
        """Waits until each of these has fired."""
        await eventually(lambda: set(self.names()) >= set(names), timeout, message=lambda: f"fired: {self.names()}")

    def tell(self, ledger: Ledger) -> None:
        """Lets the ledger know which processes ended themselves, and when."""
        for one in self.fired():
            if one.action in ("kill", "exit"):
                ledger.killed[one.pid] = one.at
