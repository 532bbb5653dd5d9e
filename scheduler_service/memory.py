"""What a process that is loaded tells the garbage collector."""

from __future__ import annotations

import gc

# Objects made and not yet freed until the collector looks at the newest. Nearly all that
# work makes is freed without it, so at its usual 700 it looks for nothing at each turn.
NEWEST = 20_000


def settle() -> None:
    """Let the collector pass by what is loaded, which stays anyway.

    It would go through modules, models and settings again and again, as work makes new
    objects: a fifteenth of a worker's time. Processes that are forked from this one
    share its memory for longer, too.
    """
    gc.collect()
    gc.freeze()
    gc.set_threshold(NEWEST, *gc.get_threshold()[1:])
