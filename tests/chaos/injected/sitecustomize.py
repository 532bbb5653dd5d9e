"""Gives each part its own clock and name server; Python imports it when the part starts.

A file says by how many nanoseconds the clock is off, and each look at the clock reads it
again. Processes that are forked later use the same file.
"""

from __future__ import annotations

import mmap
import os
import struct
from typing import Any

OFFSET = struct.Struct("=q")


def _use_clock(path: str) -> None:
    import time_machine

    with open(path, "rb") as file:
        offset = mmap.mmap(file.fileno(), OFFSET.size, access=mmap.ACCESS_READ)
    true_time_ns = time_machine.escape_hatch.time.time_ns
    traveller = time_machine.travel(0.0).start()
    vars(traveller)["time_ns"] = lambda: true_time_ns() + OFFSET.unpack(offset[:])[0]


def _use_name_server(server: str) -> None:
    import pycares

    class Channel(pycares.Channel):
        def __init__(self, *given: Any, servers: Any = None, **others: Any) -> None:
            super().__init__(*given, servers=servers or [server], **others)

    vars(pycares)["Channel"] = Channel


for variable, use in (
    ("CHAOS_CLOCK", _use_clock),
    ("CHAOS_NAME_SERVER", _use_name_server),
):
    if variable in os.environ:
        use(os.environ[variable])
