"""Token counts, in whatever names an agent gives them. Pure."""

from collections.abc import Mapping
from typing import Any, Final, NamedTuple

_PROMPT: Final = ("promptTokens", "prompt_tokens", "inputTokens", "input_tokens")
_COMPLETION: Final = ("completionTokens", "completion_tokens", "outputTokens", "output_tokens")
_TOTAL: Final = ("totalTokens", "total_tokens")


class Usage(NamedTuple):
    """Tokens of one answer of a model, or of several."""

    prompt: int = 0
    completion: int = 0
    total: int = 0

    @classmethod
    def parse(cls, usage: Mapping[str, Any]) -> "Usage":
        """The counts in `usage`; what is missing or no number counts as nothing."""
        prompt, completion = _first(usage, _PROMPT), _first(usage, _COMPLETION)
        return cls(prompt, completion, _first(usage, _TOTAL) or prompt + completion)

    def plus(self, other: "Usage") -> "Usage":
        """Both together."""
        return Usage(
            self.prompt + other.prompt, self.completion + other.completion, self.total + other.total
        )

    def minus(self, other: "Usage") -> "Usage":
        """What is left without `other`."""
        return self.plus(Usage(-other.prompt, -other.completion, -other.total))


NO_USAGE: Final = Usage()


def _first(usage: Mapping[str, Any], names: tuple[str, ...]) -> int:
    for name in names:
        value = usage.get(name)
        if isinstance(value, int | float) and not isinstance(value, bool) and 0 <= value < _MOST:
            return int(value)
    return 0


_MOST: Final = 2**53
