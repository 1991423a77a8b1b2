"""How a generation lives and ends, for programs that run generations of their own. Pure."""

from durable_proxy._lifecycle import TERMINAL_CODES, TERMINAL_STATES, Ending, Event, State

__all__ = ["TERMINAL_CODES", "TERMINAL_STATES", "Ending", "Event", "State"]
