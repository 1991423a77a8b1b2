"""What the emulated model says when no OpenAI key is set."""

PROMPT = (
    "In about 150 words, explain to a developer why a streamed answer should be written to a "
    "log while it is generated."
)
MODEL = "demo"
PACE_SECONDS = 0.03
ANSWER = (
    "A streamed answer lives on one fragile thread: the connection. Close the laptop, lose the "
    "Wi-Fi, deploy the server, and the words that were already paid for are gone.\n\n"
    "So write them down first. Every byte the model sends is appended to a log and only then "
    "shown. The connection becomes just one reader of that log, and readers may come and go: a "
    "phone in a tunnel, a second tab, a colleague who joins late. Each one knows its offset, asks "
    "for the rest, and gets exactly the rest: no gap, no repetition, nothing billed twice.\n\n"
    "And when the producer itself dies, the log says so. Nobody waits for ever for a sentence "
    "that will never be finished. That is all: append, remember the offset, carry on. "
    "Schön, n'est-ce pas? 🌊"
)
