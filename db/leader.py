"""The leader's term: a row, renewed only by completed ticks. Two leaders at once are harmless; one is enough."""

from uuid import UUID

from db.engine import Link

NAME = "main"


async def lead(link: Link, worker: UUID, *, seconds: float) -> int | None:
    """Takes or renews the term for `seconds`. The term's number, or None while another leads.

    A term that ends later than two of them from now is taken, too: the database's clock was set back since.
    """
    row = await link.row("lead", name=NAME, worker=worker, seconds=seconds)
    return None if row is None else row["term"]


async def resign(link: Link, worker: UUID) -> None:
    """Ends one's own term at once; nothing where another leads."""
    await link.fetch("resign", name=NAME, worker=worker)
