"""The items of a batch on their way to submissions, some at a time.

What is prepared can be stored while the rest is being prepared. Each submission is made once, with its id, because a
transaction that is turned down for a moment is tried again.
"""

import asyncio
from collections.abc import Mapping, Sequence
from typing import Any, Self

from service.http.problems import FieldError, invalid
from service.submit.submission import Resolver, Submission, UnknownTask

PART = 1_000
"""Items that are prepared before the first of them are stored: some 10 ms of either."""
_BREATH = 250
"""Items after which everybody else has a turn."""


class Prepared:
    """The items of one request, each a JSON object that has not been looked at. Made by `of`."""

    @classmethod
    async def of(cls, resolver: Resolver, items: Sequence[Mapping[str, Any]]) -> Self:
        """Items whose tasks are looked up here, so that nothing asks PostgreSQL while a transaction holds a connection.

        Raises the errors of `db.errors`.
        """
        await resolver.look_up({name for item in items if isinstance(name := item.get("task"), str)})
        return cls(resolver, items)

    def __init__(self, resolver: Resolver, items: Sequence[Mapping[str, Any]]) -> None:
        self._resolver = resolver
        self._items = items
        self._errors: list[FieldError] = []
        self._looked_at = 0
        self.submissions: list[Submission] = []
        """Those that are made, in the order of the items."""

    @property
    def is_keyed(self) -> bool:
        """Whether an item brings a key of its own."""
        return any("idempotency_key" in item for item in self._items)

    async def part(self, start: int) -> Sequence[Submission]:
        """The next submissions from `start` on; empty at the end. Raises Problem with what is wrong in all items."""
        await self._look_at(start + PART)
        if self._errors:
            await self.all()
        return self.submissions[start : start + PART]

    async def all(self) -> Sequence[Submission]:
        """Every submission. Raises Problem with what is wrong in all items."""
        await self._look_at(len(self._items))
        if self._errors:
            raise invalid(self._errors)
        return self.submissions

    async def _look_at(self, end: int) -> None:
        """Looks at the items before `end` that nobody has looked at."""
        first = self._looked_at
        for position, item in enumerate(self._items[first:end], first):
            one = await self._resolver.submission(item, item=True, prefix=f"/jobs/{position}")
            if isinstance(one, Submission):
                self.submissions.append(one)
            elif isinstance(one, UnknownTask):
                self._errors.append(
                    FieldError(f"/jobs/{position}/task", f"no task {one.name!r} is known", "unknown-task")
                )
            else:
                self._errors += one
            self._looked_at = position + 1
            if position % _BREATH == _BREATH - 1:
                await asyncio.sleep(0)
