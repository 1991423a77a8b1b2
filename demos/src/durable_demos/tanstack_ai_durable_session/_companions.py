"""What the scripted companions say about the last message. Pure."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from durable_demos._script import Say, Step, last_prompt

if TYPE_CHECKING:
    from collections.abc import Sequence

    from pydantic_ai.messages import ModelMessage

LONG_SENTENCE = 24
"""More words than this are hard to read."""
QUOTED = 90
"""So many characters of a sentence are quoted."""
KEPT = 3
"""So many points a summary has."""


def review(messages: Sequence[ModelMessage]) -> tuple[Step, ...]:
    """Three remarks on the text: its length, its longest sentence, what it takes for granted."""
    text = last_prompt(messages)
    found = sentences(text)
    if len(found) < KEPT:
        return (Say("Short and clear. **No objection.**"),)
    longest = max(found, key=lambda one: len(one.split()))
    words = len(longest.split())
    verdict = "hard to read; split it" if words > LONG_SENTENCE else "fine to read"
    numbers = len(re.findall(r"\d+(?:\.\d+)?", text))
    figures = f"{numbers or 'no'} figure{'' if numbers == 1 else 's'}"
    sources = "It links to a source." if "://" in text else "It names **no source**."
    return (
        Say(
            f"I have read {len(text.split())} words in {len(found)} sentences:\n\n"
            f"- The longest sentence has {words} words and is {verdict}: “{quote(longest)}”\n"
            f"- It gives {figures}. {sources}\n"
            f"- I would begin with its last point: “{quote(found[-1])}”"
        ),
    )


def summarize(messages: Sequence[ModelMessage]) -> tuple[Step, ...]:
    """The first sentences of the paragraphs that say most."""
    text = last_prompt(messages)
    paragraphs = [sentences(one) for one in re.split(r"\n\s*\n", text)]
    leading = [one[0] for one in paragraphs if one]
    best = sorted(leading, key=len, reverse=True)[:KEPT]
    points = [one for one in leading if one in best]
    if not points:
        return (Say("There is nothing to sum up yet."),)
    return (Say("**In short**\n\n" + "\n".join(f"1. {quote(one)}" for one in points)),)


def sentences(text: str) -> list[str]:
    """The sentences of Markdown, without code and without its marks."""
    plain = re.sub(r"```.*?(```|$)", " ", text, flags=re.DOTALL)
    lines = [one for one in plain.splitlines() if not one.lstrip().startswith(("|", "#"))]
    plain = " ".join(re.sub(r"^\s*(?:[-*>]|\d+\.)\s+", "", one) for one in lines)
    plain = re.sub(r"\[([^\]]*)\]\([^)]*\)", r"\1", plain)
    plain = re.sub(r"[*_`]+", "", plain)
    found = re.split(r"(?<=[.!?…:])\s+", " ".join(plain.split()))
    return [one.strip() for one in found if len(one.split()) > 1]


def quote(sentence: str) -> str:
    """The sentence, or its beginning when it is long."""
    if len(sentence) <= QUOTED:
        return sentence
    return sentence[:QUOTED].rsplit(" ", 1)[0] + " …"
