"""Settings of the API, frozen, from the environment or `NAME_FILE`.

Everything is checked once, and everything that is wrong is said at once.
"""

import os
from typing import Annotated, Literal, TypeVar

from pydantic import Field, SecretStr, ValidationError, field_validator
from pydantic_settings import NoDecode

from db import failpoints
from db.errors import SettingsError
from db.settings import DatabaseSettings
from db.urls import postgres_dsn

NO_CREDENTIALS = (
    "ERRANDER_AUTH is 'required', but this version knows no credentials yet (tokens and API keys come with a later one). "
    "Say ERRANDER_AUTH=off to run without authentication; then let only trusted networks reach this address."
)


class SettingsRefusedError(Exception):
    """The settings cannot be used; `lines` says why, a line each."""

    def __init__(self, lines: list[str]) -> None:
        super().__init__("\n".join(lines))
        self.lines = lines


class CatalogueSettings(DatabaseSettings):
    """What `errander migrate` and `errander tasks announce` need to know."""

    tasks: Annotated[tuple[str, ...], NoDecode] = Field((), validation_alias="ERRANDER_TASKS")
    """Import paths of task modules."""
    builtin_tasks: Annotated[tuple[str, ...], NoDecode] = Field(
        ("http", "email"), validation_alias="ERRANDER_BUILTIN_TASKS"
    )
    """Groups of built-in tasks."""

    @field_validator("tasks", "builtin_tasks", mode="before")
    @classmethod
    def _split(cls, value: object) -> object:
        return tuple(part.strip() for part in value.split(",") if part.strip()) if isinstance(value, str) else value


class DoctorSettings(DatabaseSettings):
    """What `errander doctor` needs to know."""

    redis_url: SecretStr = Field(validation_alias="REDIS_URL")
    """Where hints are published."""
    lease_seconds: float = Field(30.0, gt=0, validation_alias="ERRANDER_LEASE_SECONDS")
    """How long a worker that does not beat still counts as live."""


class ApiSettings(CatalogueSettings):
    """What the API needs to know."""

    redis_url: SecretStr = Field(validation_alias="REDIS_URL")
    """Where hints are published; submitting works while it is away."""
    auth: Literal["required", "off"] = Field("required", validation_alias="ERRANDER_AUTH")
    """`off` serves everybody who reaches the port."""
    migrate: Literal["wait", "auto"] = Field("wait", validation_alias="ERRANDER_MIGRATE")
    """`wait`: answer 503 until somebody migrated; `auto`: migrate at start."""
    with_worker: bool = Field(False, validation_alias="ERRANDER_WITH_WORKER")
    """Run a supervised worker process beside the API."""
    max_crashes: int = Field(3, ge=1, le=100, validation_alias="ERRANDER_MAX_CRASHES")
    """`max_crashes` of a job where neither the request nor the task says it."""
    lease_seconds: float = Field(30.0, gt=0, validation_alias="ERRANDER_LEASE_SECONDS")
    """How long a worker that does not beat still counts as live."""
    idempotency_hours: float = Field(24.0, ge=0, validation_alias="ERRANDER_IDEMPOTENCY_HOURS")
    """How long an idempotency key is held after its jobs are final."""
    hint_window: int = Field(5000, ge=1, validation_alias="ERRANDER_HINT_WINDOW")
    """Ids a queue has in Redis at most."""
    hint_horizon_seconds: float = Field(60.0, gt=0, validation_alias="ERRANDER_HINT_HORIZON_SECONDS")
    """How far ahead a future job is published."""
    host: str = Field("127.0.0.1", validation_alias="ERRANDER_HOST")
    """Address to listen on."""
    port: int = Field(8000, ge=0, le=65535, validation_alias="ERRANDER_PORT")
    """Port to listen on."""
    root_path: str = Field("", validation_alias="ERRANDER_ROOT_PATH")
    """Prefix under which a proxy serves this API."""
    trusted_proxies: str | None = Field(None, validation_alias="ERRANDER_TRUSTED_PROXIES")
    """Addresses whose `X-Forwarded-*` headers are believed, comma separated."""
    log_format: Literal["console", "json"] | None = Field(None, validation_alias="ERRANDER_LOG_FORMAT")
    """By default `console` on a terminal, else `json`."""
    log_level: Literal["debug", "info", "warning", "error"] = Field("info", validation_alias="ERRANDER_LOG_LEVEL")
    """Least severity that is written."""

    @field_validator("database_url")
    @classmethod
    def _is_postgres(cls, value: SecretStr) -> SecretStr:
        try:
            postgres_dsn(value.get_secret_value())
        except SettingsError as error:
            raise ValueError(str(error)) from None
        return value

    @field_validator("log_level", mode="before")
    @classmethod
    def _lower(cls, value: object) -> object:
        return value.lower() if isinstance(value, str) else value


S = TypeVar("S", bound=DatabaseSettings)


def read(kind: type[S]) -> S:
    """Settings of one kind from the environment. Raises SettingsRefusedError with everything that is wrong.

    The first thing that every process of the service does, so the failpoints of a test are armed here.
    """
    try:
        failpoints.arm(os.environ)
        return kind()
    except failpoints.FailpointsRefused as error:
        raise SettingsRefusedError(error.lines) from None
    except ValidationError as error:
        raise SettingsRefusedError(refusal_lines(error)) from None
    except OSError as error:
        raise SettingsRefusedError([f"a NAME_FILE of the environment cannot be read: {error}"]) from None


def load() -> ApiSettings:
    """The settings of the API. Raises SettingsRefusedError, also where nobody could be authenticated."""
    settings = read(ApiSettings)
    if settings.auth == "required":
        raise SettingsRefusedError([NO_CREDENTIALS])
    return settings


def refusal_lines(error: ValidationError) -> list[str]:
    """One line for each setting that is missing or wrong; values are not repeated, because some are secrets."""
    lines = []
    for item in error.errors(include_url=False, include_input=False):
        name = str(item["loc"][0]) if item["loc"] else "settings"
        text = "is not set" if item["type"] == "missing" else item["msg"].removeprefix("Value error, ")
        lines.append(f"{name}: {text}")
    return lines
