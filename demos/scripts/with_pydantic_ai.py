"""A run of a pydantic-ai agent, which another run of this script takes up where it is."""

import os

from pydantic_ai import Agent

from durable_ai_transport.native import durable_model
from durable_transport import turn

proxy = os.environ.get("DURABLE_PROXY", "http://localhost:4000")
agent = Agent(durable_model(proxy, "openai:gpt-5.4-mini"))
with turn("scripts", "pydantic-ai-1"):
    for text in agent.run_stream_sync("Why log?").stream_text(delta=True):
        print(text, end="", flush=True)
