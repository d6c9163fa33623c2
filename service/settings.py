"""Settings of the API, frozen, from the environment or `NAME_FILE`."""

from typing import Annotated, Literal, Self
from urllib.parse import urlsplit

from pydantic import Field, SecretStr, field_validator, model_validator
from pydantic_settings import NoDecode

from db.errors import DatabaseError
from db.settings import DatabaseSettings, SettingsRefusedError, read
from service.auth.existing import has_key
from service.checks.unreachable import postgres_unreachable
from service.http.cross_origin import origins_of
from service.http.hosts import hosts_of
from workers.settings import RedisAddress, WorkerSettings

NO_CREDENTIALS = (
    "ERRANDER_AUTH is 'required', and nobody could be let in: there is no API key, and neither ERRANDER_JWT_SECRET nor "
    "ERRANDER_JWKS_URL is set. Make a key with `errander key create --local --name NAME --scope admin`, set one of the two, "
    "or say ERRANDER_AUTH=off to run without authentication; then let only trusted networks reach this address."
)
_UNKNOWN_KEYS = (
    "Whether there is an API key cannot be told without it, and ERRANDER_AUTH=required needs one; with ERRANDER_JWT_SECRET, "
    "ERRANDER_JWKS_URL or ERRANDER_AUTH=off the API starts without PostgreSQL and waits for it."
)
SHORTEST_SECRET = 32
"""Bytes of a secret: the length of the hash it keys (RFC 7518, 3.2)."""
_FEWEST_DIFFERENT = 8
"""Different bytes in a secret of that length: fewer were typed, not drawn."""


def strong(value: SecretStr | None) -> SecretStr | None:
    """A secret that nobody guesses, or none. Raises ValueError."""
    secret = b"" if value is None else value.get_secret_value().encode()
    if value is not None and (len(secret) < SHORTEST_SECRET or len(set(secret)) < _FEWEST_DIFFERENT):
        raise ValueError(
            f"is too weak: at least {SHORTEST_SECRET} random bytes are needed, for example from `openssl rand -hex 32`"
        )
    return value


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
    """What `errander doctor` needs to know; what is wrong with an address is for it to say."""

    database_url: SecretStr = Field(validation_alias="DATABASE_URL")
    """Where PostgreSQL is."""
    redis_url: SecretStr = Field(validation_alias="REDIS_URL")
    """Where hints are published."""
    lease_seconds: float = Field(30.0, gt=0, validation_alias="ERRANDER_LEASE_SECONDS")
    """How long a worker that does not beat still counts as live."""


class KeySettings(DatabaseSettings):
    """What making and checking API keys needs to know."""

    key_pepper: SecretStr | None = Field(None, validation_alias="ERRANDER_KEY_PEPPER")
    """Keys the hashes of API keys, so that writing to PostgreSQL does not make a key. Keys made without it stop to work."""

    @field_validator("key_pepper")
    @classmethod
    def _pepper_is_strong(cls, value: SecretStr | None) -> SecretStr | None:
        return strong(value)


class ApiSettings(CatalogueSettings, KeySettings):
    """What the API needs to know."""

    redis_url: RedisAddress = Field(validation_alias="REDIS_URL")
    """Where hints are published; submitting works while it is away."""
    auth: Literal["required", "off"] = Field("required", validation_alias="ERRANDER_AUTH")
    """`off` serves everybody who reaches the port."""
    jwt_secret: SecretStr | None = Field(None, validation_alias="ERRANDER_JWT_SECRET")
    """Verifies and signs JWTs (HS256)."""
    jwks_url: str | None = Field(None, validation_alias="ERRANDER_JWKS_URL")
    """Where the issuer of JWTs publishes its public keys; instead of a secret."""
    jwt_issuer: str = Field("errander", min_length=1, validation_alias="ERRANDER_JWT_ISSUER")
    """`iss` of every JWT."""
    jwt_audience: str = Field("errander", min_length=1, validation_alias="ERRANDER_JWT_AUDIENCE")
    """`aud` of every JWT."""
    jwt_max_age_seconds: float = Field(3600.0, gt=0, le=86_400, validation_alias="ERRANDER_JWT_MAX_AGE_SECONDS")
    """How long a JWT may be valid, from `iat` to `exp`."""
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
    rate_limit_key: str | None = Field(None, validation_alias="ERRANDER_RATE_LIMIT_KEY")
    """Requests of one credential, such as `600/minute`; None: any number."""
    rate_limit_tenant: str | None = Field(None, validation_alias="ERRANDER_RATE_LIMIT_TENANT")
    """Requests of one tenant."""
    rate_limit_auth: str | None = Field("30/minute", validation_alias="ERRANDER_RATE_LIMIT_AUTH")
    """Wrong secrets for one API key from one address."""
    queue_limit: int = Field(0, ge=0, validation_alias="ERRANDER_QUEUE_LIMIT")
    """Jobs of one tenant that may wait; 0: any number."""
    cors_origins: Annotated[tuple[str, ...], NoDecode] = Field((), validation_alias="ERRANDER_CORS_ORIGINS")
    """Origins whose scripts may use the API from a browser, comma separated and exact; none by default."""
    allowed_hosts: Annotated[tuple[str, ...], NoDecode] = Field((), validation_alias="ERRANDER_ALLOWED_HOSTS")
    """Names by which the API is asked beside local ones, comma separated; `*.` for all below a name, `*` for any."""
    log_format: Literal["console", "json"] | None = Field(None, validation_alias="ERRANDER_LOG_FORMAT")
    """By default `console` on a terminal, else `json`."""
    log_level: Literal["debug", "info", "warning", "error"] = Field("info", validation_alias="ERRANDER_LOG_LEVEL")
    """Least severity that is written."""

    @field_validator("cors_origins", mode="before")
    @classmethod
    def _origins(cls, value: object) -> object:
        return origins_of(value) if isinstance(value, str) else value

    @field_validator("allowed_hosts", mode="before")
    @classmethod
    def _hosts(cls, value: object) -> object:
        return hosts_of(value) if isinstance(value, str) else value

    @property
    def checked_hosts(self) -> tuple[str, ...] | None:
        """`allowed_hosts`, or None where `Host` need not be looked at: whoever asks shows a credential."""
        return None if self.auth == "required" and not self.allowed_hosts else self.allowed_hosts

    @field_validator("jwt_secret")
    @classmethod
    def _secret_is_strong(cls, value: SecretStr | None) -> SecretStr | None:
        return strong(value)

    @field_validator("jwks_url")
    @classmethod
    def _is_https(cls, value: str | None) -> str | None:
        if value is None:
            return None
        parts = urlsplit(value)
        if parts.hostname and (parts.scheme == "https" or (parts.scheme == "http" and _is_here(parts.hostname))):
            return value
        raise ValueError("must be an https address: whoever answers there decides who is let in")

    @model_validator(mode="after")
    def _is_one_family(self) -> Self:
        if self.jwt_secret is not None and self.jwks_url is not None:
            raise ValueError(
                "ERRANDER_JWT_SECRET and ERRANDER_JWKS_URL are both set; tokens are of one kind, so choose one"
            )
        return self

    @field_validator("rate_limit_key", "rate_limit_tenant", "rate_limit_auth")
    @classmethod
    def _is_rate(cls, value: str | None) -> str | None:
        from service.limits.rates import item_of  # noqa: PLC0415  # 80 ms that most commands need not spend

        if value is not None:
            item_of(value)
        return value

    @field_validator("log_level", mode="before")
    @classmethod
    def _lower(cls, value: object) -> object:
        return value.lower() if isinstance(value, str) else value


def pepper_of(settings: KeySettings) -> bytes:
    """What the hashes of API keys are keyed with; empty without a setting."""
    return b"" if settings.key_pepper is None else settings.key_pepper.get_secret_value().encode()


def _is_here(host: str) -> bool:
    return host in ("localhost", "127.0.0.1", "::1")


def load() -> ApiSettings:
    """The settings of the API. Raises SettingsRefusedError, also where nobody could be authenticated."""
    settings = read(ApiSettings)
    if settings.with_worker:
        read(WorkerSettings)  # its process would only refuse them, again and again
    if settings.auth == "required" and settings.jwt_secret is None and settings.jwks_url is None:
        _require_key(settings)
    return settings


def _require_key(settings: ApiSettings) -> None:
    """Raises SettingsRefusedError unless there is an API key."""
    url = settings.database_url.get_secret_value()
    try:
        found = has_key(url, settings.db_schema)
    except DatabaseError as error:
        trouble, todo = postgres_unreachable(url, error)
        raise SettingsRefusedError([f"{trouble}; {todo}. {_UNKNOWN_KEYS}"]) from None
    if not found:
        raise SettingsRefusedError([NO_CREDENTIALS])
