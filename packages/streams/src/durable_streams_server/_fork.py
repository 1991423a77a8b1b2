"""Where a fork branches off: from the request's headers to a position in the source."""

from durable_streams_server._json_mode import is_json, is_json_boundary, json_prefix_length
from durable_streams_server._log import Log
from durable_streams_server._model import Fork, StreamInfo
from durable_streams_server._request import ForkRequest, RequestError
from durable_transport.protocol import ErrorCode


async def resolve_fork(log: Log, source: StreamInfo, request: ForkRequest) -> Fork:
    """Turn offset and sub-offset into a position (PROTOCOL section 4.2).

    Bytes at a position never change, so this may happen before the transaction that creates the
    fork; that one makes sure that the source is still the same stream.

    Raises:
        RequestError: the offset is in the middle of a message, or the sub-offset counts further
            than the source goes.
        StreamNotFoundError: the source was deleted meanwhile.
    """
    position = request.position
    if position is not None and is_json(source.content_type):
        await _check_boundary(log, source, position)
    if position is not None and request.sub_offset:
        if is_json(source.content_type):
            position = await _after_messages(log, source, position, request.sub_offset)
        else:
            position += request.sub_offset
        if position > source.tail:
            raise _beyond(request)
    return Fork(source.path, position, source.id)


async def _check_boundary(log: Log, source: StreamInfo, position: int) -> None:
    """Refuse to cut a message in two: nothing could ever read the fork as JSON again."""
    if not 0 < position < source.tail:
        return
    async with log.reader(source.path, position - 1) as reader:
        data = (await reader.read()).data
    if not is_json_boundary(data[:1], data[1:]):
        raise RequestError(
            ErrorCode.INVALID_OFFSET,
            "Stream-Fork-Offset is in the middle of a message: use an offset that the server has"
            " sent as Stream-Next-Offset",
        )


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
