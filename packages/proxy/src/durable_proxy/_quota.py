"""How many of something each principal has at this moment, on this node."""

from collections import Counter
from collections.abc import Callable


class Quota:
    """Counts what is held.

    Args:
        limit: Of one principal; 0 is no limit.
    """

    def __init__(self, limit: int) -> None:
        self._limit = limit
        self._held: Counter[str] = Counter()

    def take(self, name: str) -> Callable[[], None] | None:
        """Hold one more of a principal's; what is returned gives it back, once however often it
        is called. None when there are too many.
        """
        if self._limit and self._held[name] >= self._limit:
            return None
        self._held[name] += 1
        held = True

        def give_back() -> None:
            nonlocal held
            if held:
                held = False
                self._held[name] -= 1
                if not self._held[name]:
                    del self._held[name]

        return give_back

    def held(self, name: str) -> int:
        """How many a principal has."""
        return self._held[name]
