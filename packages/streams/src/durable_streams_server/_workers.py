"""Several server processes behind one listening socket, and the one that looks after them.

The parent serves nothing. A signal to it goes to every worker. When a worker ends by itself the
others are asked to end too, and the exit code says so: nothing is started again behind the back of
whoever runs the service. Workers whose parent is gone end by themselves.
"""

import logging
import os
import signal
import sys
from collections.abc import Callable
from threading import Thread

SIGNALS = (signal.SIGINT, signal.SIGTERM)

logger = logging.getLogger("durable_streams_server")


def run_workers(count: int, work: Callable[[int], int]) -> int:
    """Run ``work`` in so many forked processes and wait for all of them.

    Args:
        count: How many.
        work: Called in each with its number, from 1; its result is the exit code. It runs until a
            signal.

    Returns:
        0 when a signal came and every worker ended with 0.
    """
    watched, held = os.pipe()
    # A signal that comes before all workers are there is delivered afterwards, to all.
    signal.pthread_sigmask(signal.SIG_BLOCK, SIGNALS)
    pids = {_fork(number, work, watched, held) for number in range(1, count + 1)}
    os.close(watched)
    received: list[int] = []

    def forward(number: int, _frame: object) -> None:
        received.append(number)
        _send(pids, signal.Signals(number))

    for number in SIGNALS:
        signal.signal(number, forward)
    signal.pthread_sigmask(signal.SIG_UNBLOCK, SIGNALS)
    failed = False
    while pids:
        pid, status = os.wait()
        pids.discard(pid)
        code = os.waitstatus_to_exitcode(status)
        # One that had not come to handle signals yet is ended by them.
        if not received or code not in (0, *(-number for number in received)):
            failed = True
            logger.error("worker %s ended with %s", pid, code)
            if not received:
                forward(signal.SIGTERM, None)
    os.close(held)
    return int(failed)


def _send(pids: set[int], number: signal.Signals) -> None:
    for pid in pids:
        os.kill(pid, number)  # not waited for yet, so the id is still its own


def _fork(number: int, work: Callable[[int], int], watched: int, held: int) -> int:
    pid = os.fork()
    if pid:
        return pid
    code = 1
    try:
        # A group of its own: an interrupt at the terminal comes once, by way of the parent.
        os.setpgid(0, 0)
        os.close(held)
        Thread(target=_end_with_parent, args=(watched,), daemon=True).start()
        # Until the server hears signals: the interpreter's own handler would make an error of one.
        signal.signal(signal.SIGINT, signal.SIG_DFL)
        signal.pthread_sigmask(signal.SIG_UNBLOCK, SIGNALS)
        code = work(number)
    except BaseException:
        logger.exception("worker %s failed", number)
    finally:
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(code)  # what the parent has set up is for the parent to take down


def _end_with_parent(watched: int) -> None:
    os.read(watched, 1)
    os.kill(os.getpid(), signal.SIGTERM)
