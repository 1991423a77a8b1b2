"""An answer that survives its reader: run ``make demo`` (or ``python -m demos.terminal``)."""
