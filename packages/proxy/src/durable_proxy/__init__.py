"""Writes streaming HTTP responses to a durable log while they are generated."""
