"""Decoding server-sent events, from whoever sends them. Pure."""

from durable_transport._stream._sse import MAX_EVENT, Event, EventDecoder

__all__ = ["MAX_EVENT", "Event", "EventDecoder"]
