"""Which URLs may be called, for programs with upstreams of their own. Pure."""

from durable_proxy._allowlist import Allowlist, PatternError
from durable_proxy._urls import Target, UrlError, parse_url

__all__ = ["Allowlist", "PatternError", "Target", "UrlError", "parse_url"]
