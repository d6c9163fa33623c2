"""Settings of a worker process, frozen, from the environment."""

from typing import Annotated, Any

from pydantic import AfterValidator, Field, SecretStr, field_validator, model_validator
from pydantic_settings import NoDecode

from db.lifecycle import Priority
from db.settings import DatabaseSettings, EnvironmentSettings

LOWEST_LEASE_IN_BEATS = 4
"""A lease shorter than this many heartbeats would be lost by one slow beat and a retry."""


def _is_redis(value: SecretStr) -> SecretStr:
    from workers.redis_client import connect  # noqa: PLC0415 - 80 ms that most commands need not spend

    connect(value.get_secret_value())  # opens nothing; raises ValueError for what it cannot use
    return value


RedisAddress = Annotated[SecretStr, AfterValidator(_is_redis)]
"""An address of Redis or Valkey that a client can be made for."""

LEAVING_SECONDS = 10.0
"""What a worker may need after its drain: to stop what still runs, give jobs back and write the last outcomes."""


class DrainSettings(EnvironmentSettings):
    """How long a worker takes to leave, for itself and for who supervises it."""

    drain: float = Field(25.0, validation_alias="ERRANDER_DRAIN_SECONDS", ge=0, allow_inf_nan=False)
    """Seconds that jobs may still run after SIGTERM."""

    @property
    def grace(self) -> float:
        """Seconds from SIGTERM until a supervisor may kill it."""
        return self.drain + LEAVING_SECONDS


class WorkerSettings(DatabaseSettings, DrainSettings):
    """What one worker process is told. Durations are seconds."""

    redis_url: RedisAddress = Field(validation_alias="REDIS_URL")
    tasks: Annotated[tuple[str, ...], NoDecode] = Field((), validation_alias="ERRANDER_TASKS")
    """Import paths of the user's task modules."""
    builtin_tasks: Annotated[tuple[str, ...], NoDecode] = Field(
        ("http", "email"), validation_alias="ERRANDER_BUILTIN_TASKS"
    )
    """Groups of built-in tasks: `demo`, or `all`; a group this version does not have is left out."""
    pool: str = Field("default", validation_alias="ERRANDER_POOL", pattern=r"^[a-z0-9][a-z0-9_-]{0,62}$")
    priorities: Annotated[tuple[Priority, ...], NoDecode] = Field(
        tuple(Priority), validation_alias="ERRANDER_PRIORITIES", min_length=1
    )
    slots: int = Field(100, validation_alias="ERRANDER_SLOTS", ge=0, le=10_000)
    """Jobs at a time; 0: take none, only run the leader's loops."""
    threads: int = Field(32, validation_alias="ERRANDER_THREADS", ge=1, le=1000)
    max_jobs: int | None = Field(None, validation_alias="ERRANDER_MAX_JOBS", ge=1)
    """Retire the process after this many jobs."""
    lease: float = Field(30.0, validation_alias="ERRANDER_LEASE_SECONDS", gt=0)
    heartbeat: float = Field(5.0, validation_alias="ERRANDER_HEARTBEAT_SECONDS", gt=0)
    reaper: float = Field(5.0, validation_alias="ERRANDER_REAPER_SECONDS", gt=0)
    leader: float = Field(10.0, validation_alias="ERRANDER_LEADER_SECONDS", gt=0)
    head: float = Field(1.0, validation_alias="ERRANDER_HEAD_SECONDS", gt=0)
    hint_window: int = Field(5000, validation_alias="ERRANDER_HINT_WINDOW", ge=1)
    hint_horizon: float = Field(60.0, validation_alias="ERRANDER_HINT_HORIZON_SECONDS", gt=0)
    stuck: float = Field(10.0, validation_alias="ERRANDER_STUCK_SECONDS", gt=0)
    retention_success_days: float = Field(30, validation_alias="ERRANDER_RETENTION_SUCCESS_DAYS", ge=0)
    retention_cancelled_days: float = Field(30, validation_alias="ERRANDER_RETENTION_CANCELLED_DAYS", ge=0)
    retention_failed_days: float = Field(90, validation_alias="ERRANDER_RETENTION_FAILED_DAYS", ge=0)
    retention_audit_days: float = Field(365, validation_alias="ERRANDER_RETENTION_AUDIT_DAYS", ge=0)
    """Of the audit log; 0: for ever."""
    idempotency_hours: float = Field(24, validation_alias="ERRANDER_IDEMPOTENCY_HOURS", ge=0)
    metrics_port: int = Field(9464, validation_alias="ERRANDER_METRICS_PORT", ge=0, le=65535)
    metrics_host: str = Field("127.0.0.1", validation_alias="ERRANDER_METRICS_HOST")
    supervised: bool = Field(default=False, validation_alias="ERRANDER_SUPERVISED")
    """A supervisor starts this process again: end with status 75 instead of re-executing."""
    migrate: str = Field("wait", validation_alias="ERRANDER_MIGRATE", pattern="^(wait|auto)$")
    log_format: str | None = Field(None, validation_alias="ERRANDER_LOG_FORMAT", pattern="^(console|json)$")
    log_level: str = Field("info", validation_alias="ERRANDER_LOG_LEVEL")

    @field_validator("tasks", "builtin_tasks", "priorities", mode="before")
    @classmethod
    def _split(cls, value: Any) -> Any:
        if isinstance(value, str):
            return tuple(part.strip() for part in value.split(",") if part.strip())
        return value

    @model_validator(mode="after")
    def _lease_outlives_its_beats(self) -> "WorkerSettings":
        if self.lease < LOWEST_LEASE_IN_BEATS * self.heartbeat:
            raise ValueError(
                f"ERRANDER_LEASE_SECONDS ({self.lease:g}) must be at least {LOWEST_LEASE_IN_BEATS} times "
                f"ERRANDER_HEARTBEAT_SECONDS ({self.heartbeat:g})"
            )
        if self.reaper >= 2 * self.heartbeat:
            # Two looks further apart than two beats start every observation anew: nobody would ever be found dead.
            raise ValueError(
                f"ERRANDER_REAPER_SECONDS ({self.reaper:g}) must be below twice "
                f"ERRANDER_HEARTBEAT_SECONDS ({self.heartbeat:g})"
            )
        return self

    @model_validator(mode="after")
    def _jobs_outlive_their_keys(self) -> "WorkerSettings":
        kept = {"SUCCESS": self.retention_success_days, "CANCELLED": self.retention_cancelled_days}
        kept["FAILED"] = self.retention_failed_days
        for status, days in kept.items():
            if 0 < days * 24 < self.idempotency_hours:
                # A key is held for as long as its jobs say so, and a job that is gone says nothing.
                raise ValueError(
                    f"ERRANDER_RETENTION_{status}_DAYS ({days:g}) must be 0 or at least ERRANDER_IDEMPOTENCY_HOURS "
                    f"({self.idempotency_hours:g} h)"
                )
        return self
