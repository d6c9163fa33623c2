"""Settings of the database layer, frozen, from the environment (or `NAME_FILE`)."""

import os
from pathlib import Path
from typing import Any

from pydantic import Field, SecretStr
from pydantic_settings import BaseSettings, PydanticBaseSettingsSource, SettingsConfigDict
from pydantic_settings.sources import EnvSettingsSource


class FileEnvSource(EnvSettingsSource):
    """`NAME_FILE` beside every `NAME`: the content of that file, for secrets mounted by a platform."""

    def _load_env_vars(self) -> Any:
        found = dict(super()._load_env_vars())
        for name, path in os.environ.items():
            plain = name.removesuffix("_FILE").lower()
            if (
                name.endswith("_FILE")
                and plain not in found
                and (plain.startswith("errander_") or plain in {"database_url", "redis_url"})
            ):
                found[plain] = Path(path).read_text(encoding="utf-8").strip()
        return found


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


class DatabaseSettings(EnvironmentSettings):
    """Where PostgreSQL is."""

    database_url: SecretStr = Field(validation_alias="DATABASE_URL")
    """`postgres://`, `postgresql://` or `postgresql+asyncpg://`, with libpq's query parameters."""
    db_schema: str = Field("errander", validation_alias="ERRANDER_DB_SCHEMA", pattern=r"^[a-z_][a-z0-9_]{0,62}$")
    """The schema that holds all tables."""
