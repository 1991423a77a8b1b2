"""The clients you have, made durable: one line each for openai, anthropic, LangChain, pydantic-ai.

    client = durable_openai("http://localhost:4000", session="chat-1", storage=".durable")

gives back an ordinary ``openai.OpenAI``: what it asks runs through a durable proxy, is written down
while it is generated, survives a lost connection, and can be read on in another process. Nothing is
subclassed, and a library is imported only by the function that is called.

`durable_transport.session`, `turn` and `resume` say, call by call, which conversation it is.
"""

from durable_ai_transport.native._anthropic import durable_anthropic, durable_async_anthropic
from durable_ai_transport.native._langchain import durable_chat_openai
from durable_ai_transport.native._openai import durable_async_openai, durable_openai
from durable_ai_transport.native._pydantic_ai import durable_model

__all__ = [
    "durable_anthropic",
    "durable_async_anthropic",
    "durable_async_openai",
    "durable_chat_openai",
    "durable_model",
    "durable_openai",
]
