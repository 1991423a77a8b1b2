"""For services that are built on a log: figures, log lines and pages like the server's own.

`Families`, `log_metrics`, `render_metrics`    what Prometheus is told
`configure`, `fields`, `LoggedApp`             a line for each event
"""

from durable_streams_server._logs import FORMATS, LEVELS, LoggedApp, configure, fields
from durable_streams_server._metrics import Families, Metric, log_metrics, render_metrics

__all__ = [
    "FORMATS",
    "LEVELS",
    "Families",
    "LoggedApp",
    "Metric",
    "configure",
    "fields",
    "log_metrics",
    "render_metrics",
]
