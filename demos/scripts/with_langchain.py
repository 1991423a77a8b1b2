"""An answer of a LangChain model, which another run of this script takes up where it is."""

import os

from durable_ai_transport.native import durable_chat_openai
from durable_transport import turn

proxy = os.environ.get("DURABLE_PROXY", "http://localhost:4000")
model = durable_chat_openai(proxy, model="gpt-5.4-mini")
with turn("scripts", "langchain-1"):
    for chunk in model.stream("Why log?"):
        print(chunk.text, end="", flush=True)
