"""For commands that look after what is in a log, and are to be like the server's own.

`Program`, `CommandError`                      what is said when it fails, and the exit code
`log_options`                                  options of a command that keeps a log
`client`, `ServedStreams`, `StoredStreams`     streams of a server, and of a store that is free
`trial`, `of_trial`, `tell_findings`           a doctor's examination of live reads
"""

from durable_streams_server._cli._diagnosis import (
    Finding,
    Level,
    of_catch_up,
    of_clock,
    of_trial,
)
from durable_streams_server._cli._errors import CommandError, NoStreamError, Program
from durable_streams_server._cli._examine import date_of, head_of, trial
from durable_streams_server._cli._findings import tell_findings
from durable_streams_server._cli._options import AS_JSON, HEADERS, all_headers, log_options
from durable_streams_server._cli._piece import Piece, json_lines, printable
from durable_streams_server._cli._served import ServedStreams, client
from durable_streams_server._cli._stored import StoredStreams, stored
from durable_streams_server._cli._where import Served

__all__ = [
    "AS_JSON",
    "HEADERS",
    "CommandError",
    "Finding",
    "Level",
    "NoStreamError",
    "Piece",
    "Program",
    "Served",
    "ServedStreams",
    "StoredStreams",
    "all_headers",
    "client",
    "date_of",
    "head_of",
    "json_lines",
    "log_options",
    "of_catch_up",
    "of_clock",
    "of_trial",
    "printable",
    "stored",
    "tell_findings",
    "trial",
]
