"""Running jobs: taking, claiming, executing, finishing, and the leader's loops.

`arq workers.Settings` (and `HighSettings`, `DefaultSettings`, `LowSettings`) is the worker through arq's own command.
The names to write tasks with are those of `errander`, here as well. Importing this package alone imports no arq and
reads no environment. Never serves HTTP, never imports `service`.
"""

from typing import TYPE_CHECKING, Any

from errander import (
    Cancel,
    Context,
    Exponential,
    Fail,
    Fixed,
    Linear,
    Retry,
    Snooze,
    SyncContext,
    task,
)

if TYPE_CHECKING:
    DefaultSettings: type
    HighSettings: type
    LowSettings: type
    Settings: type

__all__ = [
    "Cancel",
    "Context",
    "DefaultSettings",
    "Exponential",
    "Fail",
    "Fixed",
    "HighSettings",
    "Linear",
    "LowSettings",
    "Retry",
    "Settings",
    "Snooze",
    "SyncContext",
    "task",
]


def __getattr__(name: str) -> Any:
    """Builds a settings class when arq's command asks for it."""
    if name in {"Settings", "HighSettings", "DefaultSettings", "LowSettings"}:
        from workers.arq_worker import settings_class  # noqa: PLC0415 - arq is imported only where it runs

        return settings_class(name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
