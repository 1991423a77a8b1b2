"""A scripted model server: what OpenAI and Anthropic put on the wire, without the model.

It speaks ``/v1/chat/completions`` and ``/v1/responses`` (OpenAI), ``/v1/messages`` (Anthropic) and
``/raw/{script}`` (any bytes). What it answers is a `Script`; a request names its script by the
header ``x-emulator-script`` or by the model name. Every answer is the same each time, so two runs
can be compared event for event, and every call is counted.

    with emulator.serve() as upstream:                  # a thread of this process
        upstream.add(Script(id="hello", tokens=("Hel", "lo")))
        OpenAI(base_url=upstream.openai_url, api_key="x").chat.completions.create(
            model="hello", messages=[...], stream=True)
        assert upstream.calls("hello") == 1

`serve_process` is the same in a process of its own, for whoever measures or kills things.
"""

from emulator._app import create_app
from emulator._script import Cut, Reject, Script, ToolCall, words
from emulator._server import RemoteUpstream, Upstream, refused_url, serve, serve_process
from emulator._state import RecordedRequest, State

__all__ = [
    "Cut",
    "RecordedRequest",
    "Reject",
    "RemoteUpstream",
    "Script",
    "State",
    "ToolCall",
    "Upstream",
    "create_app",
    "refused_url",
    "serve",
    "serve_process",
    "words",
]
