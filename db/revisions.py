"""Which revision of the schema this code needs, and which one the database has.

Apart from `db.migrate`, because every process asks and only one migrates: alembic costs 11 MB and a tenth of a start.
"""

from pathlib import Path

import asyncpg

from db.engine import Link
from db.errors import translated

FOLDER = Path(__file__).parent / "migrations"
"""Where alembic's scripts are. Their names begin with the revision: `versions/0001_first_schema.py`."""


def known() -> list[str]:
    """All revisions of this version, oldest first."""
    return sorted(path.name.partition("_")[0] for path in (FOLDER / "versions").glob("[0-9]*_*.py"))


def head() -> str:
    """The revision this code needs."""
    return known()[-1]


async def current(link: Link) -> str | None:
    """The revision the database has, or None where it has none. Raises the errors of `db.errors`."""
    with translated():
        try:
            found: str | None = await link.executor.fetchval(
                f'SELECT version_num FROM "{link.schema}".alembic_version'  # noqa: S608 - a schema name of the settings, checked
            )
        except (asyncpg.UndefinedTableError, asyncpg.InvalidSchemaNameError):
            return None
    return found


async def is_current(link: Link) -> bool:
    """Whether the database has this version's schema, or a newer one that this code does not know."""
    found = await current(link)
    return found is not None and (found == head() or found not in known())
