"""Durable transports for httpx and httpx2."""
