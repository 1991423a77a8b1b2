"""Where a fork branches off: from the request's headers to a position in the source."""

from durable_streams_server._json_mode import is_json, json_prefix_length
from durable_streams_server._log import Log
from durable_streams_server._model import Fork, StreamInfo
from durable_streams_server._request import ForkRequest, RequestError
from durable_transport.protocol import ErrorCode


async def resolve_fork(log: Log, source: StreamInfo, request: ForkRequest) -> Fork:
    """Turn offset and sub-offset into a position (PROTOCOL section 4.2).

    Bytes at a position never change, so this may happen before the transaction that creates the
    fork; that one makes sure that the source is still the same stream.

    Raises:
        RequestError: the sub-offset counts further than the source goes.
        StreamNotFoundError: the source was deleted meanwhile.
    """
    position = request.position
    if position is not None and request.sub_offset:
        if is_json(source.content_type):
            position = await _after_messages(log, source, position, request.sub_offset)
        else:
            position += request.sub_offset
        if position > source.tail:
            raise _beyond(request)
    return Fork(source.path, position, source.id)


async def _after_messages(log: Log, source: StreamInfo, position: int, count: int) -> int:
    async with log.reader(source.path, min(position, source.tail)) as reader:
        while True:
            chunk = await reader.read()
            if not chunk.data:
                return source.tail + 1
            length, found = json_prefix_length(chunk.data, count)
            if found == count:
                return chunk.start + length
            count -= found


def _beyond(request: ForkRequest) -> RequestError:
    return RequestError(
        ErrorCode.FORK_OUT_OF_RANGE,
        f"Stream-Fork-Sub-Offset {request.sub_offset} counts further than the stream to fork goes",
    )
