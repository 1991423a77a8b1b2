"""An answer of the openai SDK, which another run of this script takes up where it is."""

import os

from durable_ai_transport.native import durable_openai
from durable_transport import turn

client = durable_openai(os.environ.get("DURABLE_PROXY", "http://localhost:4000"))
with turn("scripts", "openai-1"):
    stream = client.responses.create(model="gpt-5.4-mini", input="Why log?", stream=True)
    for event in stream:
        if event.type == "response.output_text.delta":
            print(event.delta, end="", flush=True)
