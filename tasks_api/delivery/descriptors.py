"""The limit of open files of this process, and whether the process has reached it."""

from __future__ import annotations

import errno
import logging
import resource
import socket

logger = logging.getLogger(__name__)

# Files that a worker opens beside its requests: the database, Redis, names, logs.
RESERVED_FILES = 200
# Errors that are this machine's own trouble, and say nothing about a target.
LOCAL_ERRNOS = frozenset(
    {errno.EMFILE, errno.ENFILE, errno.ENOBUFS, errno.ENOMEM, errno.EADDRNOTAVAIL}
)


class TooFewFiles(SystemExit):
    """The process may open so few files that it can send nothing."""


def raise_file_limit(wanted: int) -> int:
    """Raise the limit of open files for some connections; returns how many it allows.

    The soft limit is raised as far as necessary, and the hard one is left alone. A warning
    is logged if not all the wanted connections are possible.
    """
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if soft == resource.RLIM_INFINITY or soft >= wanted + RESERVED_FILES:
        return wanted
    limit = wanted + RESERVED_FILES
    if hard != resource.RLIM_INFINITY:
        limit = min(limit, hard)
    resource.setrlimit(resource.RLIMIT_NOFILE, (max(soft, limit), hard))
    affordable = max(soft, limit) - RESERVED_FILES
    if affordable < 1:
        raise TooFewFiles(
            f"This process may open {hard} files and needs {RESERVED_FILES + 1} at least; "
            "raise its limit (ulimit -n, LimitNOFILE, or ulimits of the container)."
        )
    if affordable < wanted:
        logger.warning(
            "SCHEDULER_MAX_IN_FLIGHT is %d, and counts as %d: this process may open %d "
            "files, of which %d are for other things. Raise its limit (ulimit -n).",
            wanted,
            affordable,
            hard,
            RESERVED_FILES,
        )
    return min(wanted, affordable)


def are_exhausted() -> bool:
    """Whether no socket can be opened at this moment."""
    try:
        socket.socket().close()
    except OSError as error:
        return error.errno in LOCAL_ERRNOS
    return False
