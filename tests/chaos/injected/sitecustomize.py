"""Read by each part of a round at its start: its own clock, and its name server.

The clock is off by as many nanoseconds as a file says, at every moment anew: processes
that are forked later go by the same file.
"""

from __future__ import annotations

import mmap
import os
import struct
from typing import Any

OFFSET = struct.Struct("=q")


def _live_by(path: str) -> None:
    import time_machine

    with open(path, "rb") as file:
        offset = mmap.mmap(file.fileno(), OFFSET.size, access=mmap.ACCESS_READ)
    true = time_machine.escape_hatch.time.time_ns
    traveller = time_machine.travel(0.0).start()
    traveller.time_ns = lambda: true() + OFFSET.unpack(offset[:])[0]


def _ask(server: str) -> None:
    import pycares

    begin = pycares.Channel.__init__

    def begin_with(self: Any, *given: Any, servers: Any = None, **others: Any) -> None:
        begin(self, *given, servers=servers or [server], **others)

    pycares.Channel.__init__ = begin_with


for variable, use in (("CHAOS_CLOCK", _live_by), ("CHAOS_NAME_SERVER", _ask)):
    if variable in os.environ:
        use(os.environ[variable])
