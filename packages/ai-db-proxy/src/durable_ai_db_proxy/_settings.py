"""Settings of the command from the environment; the command line goes before them."""

from typing import Annotated, Any

from pydantic import AliasChoices, Field, ValidationError, field_validator
from pydantic_settings import BaseSettings, NoDecode, SettingsConfigDict

from durable_ai_db_proxy._policy import DEFAULT_POLICY, RunPolicy


class SettingsError(ValueError):
    """A setting cannot be used; the text names it."""


class Settings(BaseSettings):
    """What ``durable-sessions serve`` can be told."""

    model_config = SettingsConfigDict(extra="ignore", populate_by_name=True)

    host: str = Field(default="127.0.0.1", validation_alias="SESSIONS_HOST")
    port: int = Field(
        default=4001, ge=0, le=65535, validation_alias=AliasChoices("SESSIONS_PORT", "PORT")
    )
    store: str = Field(default="sqlite:///durable-sessions.sqlite", validation_alias="DATABASE_URL")
    streams_url: str | None = Field(default=None, validation_alias="DURABLE_STREAMS_URL")
    streams_token: str | None = Field(default=None, validation_alias="DURABLE_STREAMS_TOKEN")
    secret: str | None = Field(default=None, validation_alias="SESSIONS_SECRET")
    allow: Annotated[tuple[str, ...], NoDecode] = Field(
        default=(), validation_alias="SESSIONS_ALLOW"
    )
    cors_origins: Annotated[tuple[str, ...], NoDecode] = Field(
        default=(), validation_alias="SESSIONS_CORS_ORIGIN"
    )
    run_policy: RunPolicy = Field(default=DEFAULT_POLICY, validation_alias="SESSIONS_RUN_POLICY")
    lease: float = Field(default=10.0, ge=0.1, validation_alias="SESSIONS_LEASE")
    drain: float = Field(default=20.0, ge=0.0, validation_alias="SESSIONS_DRAIN")
    presence: float = Field(default=60.0, gt=0, validation_alias="SESSIONS_PRESENCE")
    answer_timeout: float = Field(default=600.0, gt=0, validation_alias="SESSIONS_ANSWER_TIMEOUT")
    idle_timeout: float = Field(default=300.0, gt=0, validation_alias="SESSIONS_IDLE_TIMEOUT")

    @field_validator("allow", "cors_origins", mode="before")
    @classmethod
    def _split(cls, value: Any) -> Any:
        """In the environment, several have white space or commas between them."""
        return tuple(value.replace(",", " ").split()) if isinstance(value, str) else value


def load_settings(**given: Any) -> Settings:
    """Settings from what was given, the environment, and the defaults, in this order.

    Raises:
        SettingsError: one of them has no possible value.
    """
    try:
        return Settings(**{name: value for name, value in given.items() if value not in (None, ())})
    except ValidationError as error:
        first = error.errors()[0]
        name = first["loc"][0] if first["loc"] else "a setting"
        raise SettingsError(f"{name}: {first['msg']}") from error
