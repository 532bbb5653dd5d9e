"""Makes the log of a part a pipe, whose reader may stop reading."""

from __future__ import annotations

import fcntl
import os
import threading
import time
from contextlib import suppress
from pathlib import Path

# The smallest pipe that the kernel makes.
PIPE_SIZE = 4096


class LogPipe(threading.Thread):
    """Copies a part's log to a file, until the last of its processes has ended."""

    def __init__(self, path: Path) -> None:
        super().__init__(name=path.name, daemon=True)
        self._path = path
        self._is_read = threading.Event()
        self._is_read.set()
        self._reader, self.writer = os.pipe()
        fcntl.fcntl(self._reader, fcntl.F_SETPIPE_SZ, PIPE_SIZE)

    def run(self) -> None:
        with self._path.open("ab") as file, os.fdopen(self._reader, "rb", 0) as pipe:
            while chunk := pipe.read(PIPE_SIZE):
                self._is_read.wait()
                file.write(chunk)
                file.flush()

    def start_reading(self) -> None:
        """Call it once the part has the writing end."""
        os.close(self.writer)
        self.start()

    def stop_reading(self) -> None:
        """Read no more, and fill the pipe so that no line fits into it."""
        self._is_read.clear()
        with suppress(OSError):
            # A file description of our own, so that the part's stays blocking.
            end = os.open(f"/proc/self/fd/{self._reader}", os.O_WRONLY | os.O_NONBLOCK)
            try:
                # The reader holds one chunk more than the pipe.
                for _ in range(2):
                    _fill(end)
                    time.sleep(0.02)
            finally:
                os.close(end)

    def resume_reading(self) -> None:
        self._is_read.set()


def _fill(pipe: int) -> None:
    for size in (PIPE_SIZE, 1):
        with suppress(BlockingIOError):
            while True:
                os.write(pipe, b"\n" * size)
