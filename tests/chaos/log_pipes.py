"""The log of a part is a pipe, whose reader may stop reading."""

from __future__ import annotations

import fcntl
import os
import threading
import time
from contextlib import suppress
from pathlib import Path

# As little as the kernel lets wait in a pipe.
ROOM = 4096


class Log(threading.Thread):
    """Carries what a part says to a file, until the last of its processes is gone."""

    def __init__(self, path: Path) -> None:
        super().__init__(name=path.name, daemon=True)
        self._path = path
        self._is_read = threading.Event()
        self._is_read.set()
        self._reader, self.writer = os.pipe()
        fcntl.fcntl(self._reader, fcntl.F_SETPIPE_SZ, ROOM)

    def run(self) -> None:
        with self._path.open("ab") as file, os.fdopen(self._reader, "rb", 0) as pipe:
            while chunk := pipe.read(ROOM):
                self._is_read.wait()
                file.write(chunk)
                file.flush()

    def begin(self) -> None:
        """Called when the part has the other end."""
        os.close(self.writer)
        self.start()

    def ignore(self) -> None:
        """Read no more; there is no room left for a single line."""
        self._is_read.clear()
        with suppress(OSError):
            # A description of our own: that of the part stays as it is.
            end = os.open(f"/proc/self/fd/{self._reader}", os.O_WRONLY | os.O_NONBLOCK)
            try:
                # The reader has one more chunk in hand than the pipe.
                for _ in range(2):
                    _fill(end)
                    time.sleep(0.02)
            finally:
                os.close(end)

    def read_on(self) -> None:
        self._is_read.set()


def _fill(pipe: int) -> None:
    for size in (ROOM, 1):
        with suppress(BlockingIOError):
            while True:
                os.write(pipe, b"\n" * size)
