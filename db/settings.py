"""Settings of the database layer, frozen, from the environment (or `NAME_FILE`); and how any settings are read.

Everything is checked once, and everything that is wrong is said at once.
"""

import os
from pathlib import Path
from typing import Annotated, Any, TypeVar

from pydantic import AfterValidator, Field, SecretStr, ValidationError
from pydantic_settings import BaseSettings, PydanticBaseSettingsSource, SettingsConfigDict
from pydantic_settings.sources import EnvSettingsSource

from db import failpoints
from db.errors import SettingsError
from db.urls import postgres_dsn


class FileEnvSource(EnvSettingsSource):
    """`NAME_FILE` beside every `NAME` of these settings: the content of that file, for secrets mounted by a platform."""

    def _load_env_vars(self) -> Any:
        found = dict(super()._load_env_vars())
        for field in self.settings_cls.model_fields.values():
            name = str(field.validation_alias)
            path = os.environ.get(f"{name}_FILE")
            if path and name.lower() not in found:
                found[name.lower()] = content(name, path)
        return found


def content(name: str, path: str) -> str:
    """What stands in the file that `NAME_FILE` names, without the blanks around it. Raises SettingsRefusedError."""
    try:
        return Path(path).read_text(encoding="utf-8").strip()
    except UnicodeDecodeError:
        raise SettingsRefusedError([f"{name}_FILE: {path} cannot be read: it is not text in UTF-8"]) from None
    except OSError as error:
        raise SettingsRefusedError([f"{name}_FILE: {path} cannot be read: {error.strerror}"]) from None


class EnvironmentSettings(BaseSettings):
    """Base of all settings: frozen, no unknown fields kept, `NAME_FILE` understood, empty means unset."""

    model_config = SettingsConfigDict(frozen=True, extra="ignore", env_ignore_empty=True, populate_by_name=True)

    @classmethod
    def settings_customise_sources(
        cls,
        settings_cls: type[BaseSettings],
        init_settings: PydanticBaseSettingsSource,
        env_settings: PydanticBaseSettingsSource,
        dotenv_settings: PydanticBaseSettingsSource,
        file_secret_settings: PydanticBaseSettingsSource,
    ) -> tuple[PydanticBaseSettingsSource, ...]:
        del env_settings, dotenv_settings, file_secret_settings
        return init_settings, FileEnvSource(settings_cls, env_ignore_empty=True)


def _is_postgres(value: SecretStr) -> SecretStr:
    try:
        postgres_dsn(value.get_secret_value())
    except SettingsError as error:
        raise ValueError(str(error)) from None
    return value


PostgresAddress = Annotated[SecretStr, AfterValidator(_is_postgres)]
"""An address of PostgreSQL that a connection can be tried with."""


class DatabaseSettings(EnvironmentSettings):
    """Where PostgreSQL is."""

    database_url: PostgresAddress = Field(validation_alias="DATABASE_URL")
    """`postgres://`, `postgresql://` or `postgresql+asyncpg://`, with libpq's query parameters."""
    db_schema: str = Field("errander", validation_alias="ERRANDER_DB_SCHEMA", pattern=r"^[a-z_][a-z0-9_]{0,62}$")
    """The schema that holds all tables."""


class SettingsRefusedError(Exception):
    """The settings cannot be used; `lines` says why, a line each."""

    def __init__(self, lines: list[str]) -> None:
        super().__init__("\n".join(lines))
        self.lines = lines


S = TypeVar("S", bound=EnvironmentSettings)


def read(kind: type[S], **given: Any) -> S:
    """Settings of one kind from the environment; `given` goes before it. Raises SettingsRefusedError.

    The first thing that every process of Errander does, so the failpoints of a test are armed here.
    """
    try:
        failpoints.arm(os.environ)
        return kind(**given)
    except failpoints.FailpointsRefused as error:
        raise SettingsRefusedError(error.lines) from None
    except ValidationError as error:
        raise SettingsRefusedError(refusals(error)) from None


def refusals(error: ValidationError) -> list[str]:
    """A line for each setting that is missing or wrong, by its name; values are not said, because some are secrets."""
    lines: dict[str, list[str]] = {}
    for problem in error.errors(include_url=False, include_input=False):
        name = str(problem["loc"][0]) if problem["loc"] else "settings"
        if problem["type"] == "too_short" and name in lines:
            continue  # nothing is left of a list because its items are wrong, which is said already
        text = "is not set" if problem["type"] == "missing" else problem["msg"].removeprefix("Value error, ")
        lines.setdefault(name, []).append(f"{name}: {text.removeprefix(name).lstrip(': ')}")
    return [line for said in lines.values() for line in said]
