"""Tune the garbage collector of a process, and return free memory to the system."""

from __future__ import annotations

import ctypes
import gc

# New objects before the collector examines the young ones. Nearly all objects are freed
# without it, so with its default of 700 it would run often and find nothing.
YOUNG_THRESHOLD = 20_000
# An option of glibc; other C libraries have none.
M_ARENA_MAX = -8

_libc = ctypes.CDLL(None)


def freeze_startup_objects() -> None:
    """Exclude from collection what is loaded, which stays anyway.

    The collector would examine modules, models and settings again and again, which costs
    a fifteenth of a worker's time. Forked processes also share the memory for longer.
    """
    gc.collect()
    gc.freeze()
    gc.set_threshold(YOUNG_THRESHOLD, *gc.get_threshold()[1:])


def limit_arenas() -> None:
    """Let all threads allocate from two arenas; call it before they start.

    By default each thread gets its own, and an arena does not return the memory of a
    large request while a small object lies above it.
    """
    if hasattr(_libc, "mallopt"):
        _libc.mallopt(M_ARENA_MAX, 2)


def collect_young_objects() -> None:
    """Free what a request has left.

    DRF's request and view refer to each other, so they stay until the collector runs.
    """
    gc.collect(1)


def release_memory() -> None:
    """Collect garbage, and return free memory to the system."""
    gc.collect()
    if hasattr(_libc, "malloc_trim"):
        _libc.malloc_trim(0)
