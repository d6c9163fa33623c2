"""What the job loop and the control thread of one process share, and what the second may ask of the first."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from workers.attempt import Attempt, Stop
from workers.held import Held
from workers.lease import Lease
from workers.progress import ProgressBoard
from workers.pulse import Pulse


@dataclass(frozen=True, slots=True)
class Orders:
    """What the control thread may ask of the job loop; each is safe to call from it."""

    stop: Callable[[Sequence[Attempt], Stop], None]
    drain: Callable[[], None]
    lost: Callable[[], None]
    kill_children: Callable[[], None]
    told_at: Callable[[], float | None]
    """When a signal told the process to leave, by the monotonic clock; heard even while the job loop stands still."""


@dataclass(frozen=True, slots=True)
class Shared:
    """What both threads read and write, each with its own lock."""

    held: Held
    lease: Lease
    progress: ProgressBoard
    pulse: Pulse
