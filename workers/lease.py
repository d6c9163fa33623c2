"""How fresh this process's right to run jobs is, by its own monotonic clock.

A beat counts from when it was sent: the database may have written it any time after that. Code starts only while the
last answered beat is younger than half a lease; the other half is for what the database then still believes.
"""

import time


class Lease:
    """Written by the control thread, read by the job loop."""

    def __init__(self, seconds: float) -> None:
        self.seconds = seconds
        self._sent = float("-inf")
        self.lost = False
        """The database has declared this worker dead."""
        self.left = False
        """This process is about to end its lease by itself: a beat that finds it ended is no news."""

    def renewed(self, sent: float) -> None:
        """A beat that was sent at `sent` has been answered."""
        self._sent = sent

    def fresh(self) -> bool:
        """Whether code may start."""
        return not self.lost and time.monotonic() - self._sent < self.seconds / 2
