"""Settings of the command from the environment; the command line goes before them.

The names are those of the original proxy where it has one. ``DATABASE_URL`` is the store.
"""

import re
from typing import Annotated, Any

from pydantic import AliasChoices, Field, ValidationError, field_validator
from pydantic_settings import BaseSettings, NoDecode, SettingsConfigDict

_ORIGIN = re.compile(r"[a-z][a-z0-9+.-]*://(?:[a-z0-9._-]+|\[[0-9a-f:.]+\])(?::[0-9]+)?")
"""As browsers write it: in lower case, and without a path."""


_REPEATED = {
    "cors_origins": "--cors-origin",
    "secrets": "--secret",
    "metrics_secrets": "--metrics-secret",
}
"""Options that can be there several times."""


class SettingsError(ValueError):
    """A setting cannot be used; the text names it."""


class Settings(BaseSettings):
    """What ``durable-proxy serve`` can be told."""

    model_config = SettingsConfigDict(extra="ignore", populate_by_name=True)

    host: str = Field(default="127.0.0.1", validation_alias="PROXY_HOST")
    port: int = Field(
        default=4000, ge=0, le=65535, validation_alias=AliasChoices("PROXY_PORT", "PORT")
    )
    store: str = Field(default="sqlite:///durable-proxy.sqlite", validation_alias="DATABASE_URL")
    public_url: str | None = Field(default=None, validation_alias="PROXY_URL")
    allow: Annotated[tuple[str, ...], NoDecode] = Field(default=(), validation_alias="PROXY_ALLOW")
    cors_origins: Annotated[tuple[str, ...], NoDecode] = Field(
        default=(), validation_alias="PROXY_CORS_ORIGIN"
    )
    secrets: Annotated[tuple[str, ...], NoDecode] = Field(
        default=(), validation_alias="PROXY_SECRET", repr=False
    )
    metrics_secrets: Annotated[tuple[str, ...], NoDecode] = Field(
        default=(), validation_alias="PROXY_METRICS_SECRET", repr=False
    )
    url_ttl: float = Field(default=24 * 3600.0, gt=0, validation_alias="PROXY_URL_TTL")
    keep_days: float | None = Field(
        default=None, gt=0, allow_inf_nan=False, validation_alias="PROXY_KEEP_DAYS"
    )
    electric_url: str | None = Field(default=None, validation_alias="ELECTRIC_URL")
    electric_secret: str | None = Field(
        default=None, validation_alias="ELECTRIC_SECRET", repr=False
    )
    egress_proxy: str | None = Field(default=None, validation_alias="PROXY_EGRESS")
    lease: float = Field(default=10.0, ge=0.1, validation_alias="PROXY_LEASE")
    drain: float = Field(default=20.0, ge=0.0, validation_alias="PROXY_DRAIN")
    answer_timeout: float = Field(default=600.0, gt=0, validation_alias="PROXY_ANSWER_TIMEOUT")
    idle_timeout: float = Field(default=300.0, gt=0, validation_alias="PROXY_IDLE_TIMEOUT")
    max_generations: int = Field(default=1000, ge=0, validation_alias="PROXY_MAX_GENERATIONS")
    max_readers: int = Field(default=10_000, ge=0, validation_alias="PROXY_MAX_READERS")
    total_timeout: float = Field(
        default=21_600.0, gt=0, allow_inf_nan=False, validation_alias="PROXY_TOTAL_TIMEOUT"
    )
    max_response: int = Field(
        default=1024 * 1024 * 1024, ge=0, validation_alias="PROXY_MAX_RESPONSE"
    )
    max_body: int = Field(default=32 * 1024 * 1024, ge=0, validation_alias="PROXY_MAX_BODY")

    @field_validator("allow", "cors_origins", "secrets", "metrics_secrets", mode="before")
    @classmethod
    def _split(cls, value: Any) -> Any:
        """In the environment, several have white space or commas between them."""
        return tuple(value.replace(",", " ").split()) if isinstance(value, str) else value

    @field_validator("cors_origins")
    @classmethod
    def _check_origins(cls, origins: tuple[str, ...]) -> tuple[str, ...]:
        """One that no browser would send allows nobody, and nobody would be told why."""
        for one in origins:
            if one != "*" and not _ORIGIN.fullmatch(one):
                raise ValueError(f"{one!r} is not an origin: write https://app.example, or *")
        return origins


def load_settings(**given: Any) -> Settings:
    """Settings from what was given, the environment, and the defaults, in this order.

    Raises:
        SettingsError: one of them has no possible value.
    """
    try:
        return Settings(**{name: value for name, value in given.items() if value not in (None, ())})
    except ValidationError as error:
        first = error.errors()[0]
        name = str(first["loc"][0]) if first["loc"] else "a setting"
        if name in Settings.model_fields:  # by an option; a variable is told by its own name
            name = _REPEATED.get(name) or f"--{name.replace('_', '-')}"
        raise SettingsError(f"{name}: {first['msg']}") from error
