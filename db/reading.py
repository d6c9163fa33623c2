"""The read-only door for composed queries: SQLAlchemy Core, errors translated, nothing to commit.

Writing goes through `db.engine.Link`, which is another type, so a function says by its argument whether it can write.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from sqlalchemy import Select
from sqlalchemy.exc import DBAPIError
from sqlalchemy.exc import TimeoutError as PoolTimeoutError

from db.engine import Database
from db.errors import Unavailable, translated


class TooSlow(Unavailable):
    """The query was cancelled by the server's statement timeout: it asks for too much."""


_CANCELLED = "57014"


@dataclass(frozen=True, slots=True)
class Reader:
    """Runs selects over the tables of `db.models`, each in a transaction of its own."""

    database: Database

    async def rows(self, query: Select[Any]) -> Sequence[Mapping[str, Any]]:
        """All rows. Raises TooSlow, and the errors of `db.errors`."""
        with translated():
            try:
                async with self.database.engine.connect() as connection:
                    await connection.execution_options(isolation_level="AUTOCOMMIT")
                    found: Sequence[Mapping[str, Any]] = (await connection.execute(query)).mappings().all()
                    return found
            except PoolTimeoutError as error:
                raise Unavailable("all connections for queries are in use") from error
            except DBAPIError as error:
                if getattr(error.orig, "sqlstate", None) == _CANCELLED:
                    raise TooSlow("the query was cancelled after the statement timeout") from error
                raise
