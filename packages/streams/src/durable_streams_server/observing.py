"""For services that are built on a log: figures, log lines and pages like the server's own.

`Families`, `log_metrics`, `render_metrics`    what Prometheus is told
`configure`, `fields`, `LoggedApp`             a line for each event
`OneFilePage`                                  a page that nothing it shows can get into
"""

from durable_streams_server._logs import LoggedApp, configure, fields
from durable_streams_server._metrics import Families, Metric, log_metrics, render_metrics
from durable_streams_server._one_file_page import OneFilePage

__all__ = [
    "Families",
    "LoggedApp",
    "Metric",
    "OneFilePage",
    "configure",
    "fields",
    "log_metrics",
    "render_metrics",
]
