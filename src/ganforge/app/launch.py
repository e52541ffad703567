"""Several processes on this machine, for ``--gpus``. A launch by torchrun or SLURM needs none of this."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
import time
from typing import NoReturn

KILL: int = getattr(signal, "SIGKILL", signal.SIGTERM)
ABORT: int = getattr(signal, "SIGABRT", signal.SIGTERM)
ABORTED = (
    "error: a process of this run was aborted: where it says 'collective operation timeout' above, another one has not "
    "answered in the time that train.timeout_minutes gives it: if it was only slow, resume with a larger one"
)
GRACE_SECONDS = 15.0
"""How long the others may take to end by themselves once one process has failed."""


def launch(processes: int) -> NoReturn:
    """Start this same command ``processes`` times, with the variables that torchrun sets, and exit as they do.

    Unlike under torchrun, an error is one line, exit codes come through, and a signal reaches every process once: a
    Ctrl-C that came twice would end them without saving.
    """
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    threads = max(1, (os.cpu_count() or 1) // processes)
    shared = {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(port), "WORLD_SIZE": str(processes)}
    shared |= {"LOCAL_WORLD_SIZE": str(processes), "OMP_NUM_THREADS": os.environ.get("OMP_NUM_THREADS", str(threads))}
    command = [sys.executable, "-m", "ganforge.app.cli", *sys.argv[1:]]
    started = [
        subprocess.Popen(
            command, env={**os.environ, **shared, "RANK": str(rank), "LOCAL_RANK": str(rank)}, start_new_session=True
        )
        for rank in range(processes)
    ]

    def pass_on(number: int, frame: object) -> None:
        send(started, signal.SIGINT if number == signal.SIGINT else signal.SIGTERM)

    signal.signal(signal.SIGINT, pass_on)
    signal.signal(signal.SIGTERM, pass_on)
    if hasattr(signal, "SIGHUP") and signal.getsignal(signal.SIGHUP) is not signal.SIG_IGN:  # not under nohup
        signal.signal(signal.SIGHUP, pass_on)
    sys.exit(wait(started))


def wait(started: list[subprocess.Popen[bytes]]) -> int:
    """Wait for all; when one fails, end those that do not end by themselves. The exit code of the first to fail."""
    code, failed_at = 0, 0.0
    while True:
        codes = [process.poll() for process in started]
        if not code:
            code = next((c for c in codes if c), 0)
            failed_at = time.monotonic()
        if all(c is not None for c in codes):
            if code == -ABORT:  # NCCL's watcher gives up so, past all that Python could say
                print(ABORTED, file=sys.stderr, flush=True)
            return code if code >= 0 else 128 - code
        late = time.monotonic() - failed_at
        if code and late > GRACE_SECONDS:
            send(started, KILL if late > 2 * GRACE_SECONDS else signal.SIGTERM)
            time.sleep(1.0)
        time.sleep(0.05)


def send(started: list[subprocess.Popen[bytes]], number: int) -> None:
    """Signal those that still run. On Windows a Ctrl-C has reached all of them already, and the rest is their end."""
    for process in started:
        if process.poll() is None and not (os.name == "nt" and number == signal.SIGINT):
            process.send_signal(number)
