"""What to tell a person where PostgreSQL does not serve a command: the address, what is wrong, what to do. Pure."""

from db.errors import DatabaseError, SettingsError, Unavailable
from db.urls import masked
from service.checks.doctor_tls import refused_certificate


def postgres_unreachable(url: str, error: DatabaseError | OSError) -> tuple[str, str]:
    """What is wrong, and what to do about it: for an error of `Database.open`, or of what came after it."""
    if isinstance(error, SettingsError):
        return str(error), "correct it"
    if isinstance(error, Unavailable | OSError):
        todo = "check DATABASE_URL, and that the server is up and lets this host in"
        return f"{masked(url)} cannot be reached: {error}", refused_certificate("postgres", str(error)) or todo
    return f"{masked(url)}: {error}", "`errander doctor` says more"
