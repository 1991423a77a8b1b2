"""Control messages out of the bytes of a control stream."""

from collections.abc import Sequence

from durable_streams_server import json_items
from durable_transport.protocol import ControlEvent, ControlMessage, OptionsPayload, StopPayload


def messages_of(records: bytes) -> list[ControlMessage]:
    """The messages in a run of whole records."""
    return [ControlMessage.model_validate(item) for item in json_items(records)]


def find_stop(records: bytes) -> StopPayload | None:
    """The first request to stop; without reading the records when there is none."""
    if b'"stop"' not in records:
        return None
    return stop_among(messages_of(records))


def stop_among(messages: Sequence[ControlMessage]) -> StopPayload | None:
    """The first request to stop."""
    for message in messages:
        if message.event == ControlEvent.STOP:
            return message.stop_payload()
    return None


def options_among(messages: Sequence[ControlMessage]) -> OptionsPayload:
    """What the generation was started with."""
    for message in messages:
        if message.event == ControlEvent.OPTIONS:
            return message.options_payload()
    return OptionsPayload()
