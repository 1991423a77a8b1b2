"""Chat applications that survive anything, one command each: ``uv run demo NAME``."""
