"""Figures that cost a few additions, for programs that count beside a log. Pure."""

from bisect import bisect_left

__all__ = ["Histogram"]


class Histogram:
    """How many values fell up to each bound; the last count is of those above all bounds."""

    def __init__(self, bounds: tuple[float, ...]) -> None:
        self.bounds = bounds
        self.counts = [0] * (len(bounds) + 1)
        self.sum = 0.0

    def add(self, value: float) -> None:
        """Count one value."""
        self.counts[bisect_left(self.bounds, value)] += 1
        self.sum += value
