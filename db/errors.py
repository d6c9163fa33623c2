"""Errors of the database layer.

    DatabaseError
    ├── SettingsError          an address or a schema name is malformed
    ├── Unavailable            PostgreSQL cannot be reached, or did not answer in time; the outcome may be unknown
    ├── SchemaBehind           the schema is older than this code
    ├── Locked                 a lock was not granted in time; nothing changed
    ├── BadRow                 a value that PostgreSQL refuses; nothing changed
    └── Refused                a statement that PostgreSQL refuses; nothing changed

`translate` makes them out of the driver's, by SQLSTATE, also where SQLAlchemy has wrapped those.
"""

from collections.abc import Iterator
from contextlib import contextmanager

import asyncpg


class DatabaseError(Exception):
    """What every error of this package is."""


class SettingsError(DatabaseError):
    """An address or a name in the settings cannot be used."""


class Unavailable(DatabaseError):
    """PostgreSQL is out of reach or too slow. Whether the statement took effect is not known."""


class SchemaBehind(DatabaseError):
    """The schema has not been migrated to this version."""


class Locked(DatabaseError):
    """Another transaction held a lock for too long; nothing changed."""


class BadRow(DatabaseError):
    """A value in the statement cannot be stored; nothing changed."""


class Refused(DatabaseError):
    """PostgreSQL refused the statement itself; nothing changed. A mistake of ours, or of what stands between.

    `sqlstate` says why. The next one may be taken, so a process outlives it.
    """

    def __init__(self, message: str, sqlstate: str) -> None:
        super().__init__(f"{message} (SQLSTATE {sqlstate}){_HINTS.get(sqlstate, '')}")
        self.sqlstate = sqlstate


# Classes of SQLSTATE (PostgreSQL manual, appendix A). 22: data; 23: constraints; 54: limits (nesting, size).
_BAD_ROW = ("22", "23", "54")
# 40001 serialisation, 40P01 deadlock, 55P03 lock not available: all say that nothing changed, and may be tried again.
_LOCKED = ("40001", "40P01", "55P03")
# 08: connection; 57: operator intervention (also statement timeout); 53: resources; 25006: read-only standby;
# 25P03: idle in transaction; 25P04: transaction timeout; XX: the server's own trouble; 58: its disk; 28: who may connect; 3D: no such database (yet);
# 42501: the role lacks a right. The last three are for an operator to mend, and a process outlives them as an outage.
_UNAVAILABLE = ("08", "57", "53", "25006", "25P03", "25P04", "XX", "58", "28", "3D", "42501")
_MISSING = ("42P01", "42703", "3F000", "42883")  # a table, column, schema or function that a migration brings
_POOLER = "; a pooler between mixes prepared statements up: see PgBouncer in docs/configuration.md"
# 42P05: a prepared statement of this name is there already; 26000: there is none.
_HINTS = {"42P05": _POOLER, "26000": _POOLER}


def translate(error: BaseException) -> DatabaseError | None:
    """Our error for one of the driver's, or None if it is not the database's doing."""
    if isinstance(error, DatabaseError):
        return error
    # SQLAlchemy wraps its adapter's error (`orig`), which wraps the driver's. It is not imported for that: few need it.
    adapted = getattr(error, "orig", None)
    if isinstance(adapted, Exception):
        return translate(adapted.__cause__ or adapted)
    if isinstance(error, asyncpg.PostgresError):
        state = error.sqlstate or "XX000"
        if state.startswith(_LOCKED):
            return Locked(str(error))
        if state.startswith(_BAD_ROW):
            return BadRow(str(error))
        if state in _MISSING:
            return SchemaBehind(f"{error}; run `errander migrate`")
        if state.startswith(_UNAVAILABLE):
            return Unavailable(str(error))
        return Refused(str(error), state)
    if isinstance(error, asyncpg.DataError):  # refused by the driver before it was sent
        return BadRow(str(error))
    if isinstance(error, asyncpg.InterfaceError | asyncpg.InternalClientError | OSError | TimeoutError):
        return Unavailable(str(error) or type(error).__name__)
    return None


@contextmanager
def translated() -> Iterator[None]:
    """Raises ours instead of the driver's errors."""
    try:
        yield
    except DatabaseError:
        raise
    except Exception as error:
        ours = translate(error)
        if ours is None:
            raise
        raise ours from error
