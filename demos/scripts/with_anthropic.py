"""An answer of the anthropic SDK, which another run of this script takes up where it is."""

import os

from durable_ai_transport.native import durable_anthropic
from durable_transport import turn

client = durable_anthropic(os.environ.get("DURABLE_PROXY", "http://localhost:4000"))
with turn("scripts", "anthropic-1"):
    stream = client.messages.stream(
        model="claude-sonnet-5-5",
        max_tokens=999,
        messages=[{"role": "user", "content": "Why log?"}],
    )
    with stream as answer:
        for text in answer.text_stream:
            print(text, end="", flush=True)
