"""An answer that survives its reader: run ``make demo`` or ``demo interrupted``."""
