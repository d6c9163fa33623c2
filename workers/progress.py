"""The newest progress of running attempts, written in batches by the control thread."""

import json
import threading
from uuid import UUID

from db import attempts
from db.engine import Link
from workers.outcomes import measured


class ProgressBoard:
    """Tasks put, the control thread takes; only the newest of an attempt counts."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._newest: dict[UUID, tuple[int, str]] = {}

    def put(self, job_id: UUID, attempt: int, done: float, total: float | None, message: str | None) -> None:
        """Keeps how far an attempt is."""
        entry = json.dumps(measured(done, total, message))
        with self._lock:
            self._newest[job_id] = (attempt, entry)

    @property
    def dirty(self) -> bool:
        """Whether anything is to be written."""
        return bool(self._newest)

    async def write(self, link: Link, worker: UUID) -> None:
        """Writes what is new. What the database does not take now is left for newer progress."""
        with self._lock:
            newest, self._newest = self._newest, {}
        if newest:
            ids = sorted(newest)
            await attempts.progress(
                link,
                worker=worker,
                ids=ids,
                attempts=[newest[job_id][0] for job_id in ids],
                progress=[newest[job_id][1] for job_id in ids],
            )
