"""What a process that is loaded tells the garbage collector, and what it gives back."""

from __future__ import annotations

import ctypes
import gc

# Objects made and not yet freed until the collector looks at the newest. Nearly all that
# work makes is freed without it, so at its usual 700 it looks for nothing at each turn.
YOUNG_THRESHOLD = 20_000
# Of glibc; other C libraries do without.
M_ARENA_MAX = -8

_libc = ctypes.CDLL(None)


def freeze_startup_objects() -> None:
    """Let the collector pass by what is loaded, which stays anyway.

    It would go through modules, models and settings again and again, as work makes new
    objects: a fifteenth of a worker's time. Processes that are forked from this one
    share its memory for longer, too.
    """
    gc.collect()
    gc.freeze()
    gc.set_threshold(YOUNG_THRESHOLD, *gc.get_threshold()[1:])


def limit_arenas() -> None:
    """Let all threads allocate from two places, before there are any.

    By default each gets one of its own, and none of them gives back what a large request
    has taken from it while something small lies above.
    """
    if hasattr(_libc, "mallopt"):
        _libc.mallopt(M_ARENA_MAX, 2)


def collect_young_objects() -> None:
    """Free what a request has left: DRF's request and view know each other, so what it
    has read stays until the collector looks, which it does not hurry to."""
    gc.collect(1)


def release_memory() -> None:
    """Give back to the system what is free, after freeing what can be."""
    gc.collect()
    if hasattr(_libc, "malloc_trim"):
        _libc.malloc_trim(0)
