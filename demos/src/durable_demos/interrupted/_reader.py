"""The reader process: an unmodified ``openai`` client over a durable transport.

It writes one JSON object a line to standard output and knows nothing of the demo around it; this
is the process that gets killed.
"""

import argparse
import json
import os
import sys
import time

import openai

from durable_transport import DurableTransport, FileStorage

from ._answer import PROMPT


def main() -> int:
    arguments = _arguments()
    started = time.monotonic()
    transport = DurableTransport(arguments.proxy, storage=FileStorage(arguments.storage))
    headers = {"X-Session-ID": arguments.session, "X-Request-ID": arguments.request}
    if arguments.resume:
        headers |= {"X-Resume-Active-Generation": "true", "X-Replay-From-Start": "true"}
    with openai.OpenAI(
        base_url=arguments.base_url,
        api_key=os.environ.get("OPENAI_API_KEY", "sk-emulated"),
        http_client=openai.DefaultHttpxClient(transport=transport),
        max_retries=0,
    ) as client:
        try:
            _stream(client, arguments.model, headers, started)
        except openai.OpenAIError as error:
            _say(event="error", message=f"{type(error).__name__}: {error.__cause__ or error}")
            return 1
    return 0


def _stream(client: openai.OpenAI, model: str, headers: dict[str, str], started: float) -> None:
    with client.chat.completions.create(
        model=model,
        messages=[{"role": "user", "content": PROMPT}],
        stream=True,
        extra_headers=headers,
    ) as stream:
        for chunk in stream:
            text = chunk.choices[0].delta.content if chunk.choices else None
            if text:
                _say(event="text", text=text, id=chunk.id, at=time.monotonic() - started)
    _say(event="end")


def _say(**fields: object) -> None:
    sys.stdout.write(json.dumps(fields) + "\n")
    sys.stdout.flush()


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="reader")
    for name in ("proxy", "base-url", "model", "storage", "session", "request"):
        parser.add_argument(f"--{name}", required=True)
    parser.add_argument("--resume", action="store_true")
    return parser.parse_args()


if __name__ == "__main__":
    sys.exit(main())
