"""The URLs of the embedded servers, whose sockets lie under SCHEDULER_STATE_DIR."""

from __future__ import annotations

import hashlib
import os
import re
from pathlib import Path
from urllib.parse import quote

# Only a part of the socket's name: no server listens on the network.
PORT = 5432
# The kernel stores 107 bytes of a socket's path; kombu and libpq read some characters
# of a URL their own way.
PLAIN_PATH = re.compile(r"[\w./-]{1,90}", re.ASCII)


def postgres_url(state_dir: Path) -> str:
    host = quote(str(socket_directory(state_dir / "postgres")))
    return f"postgresql://postgres@/scheduler?host={host}&port={PORT}"


def redis_url(state_dir: Path) -> str:
    """The URL as kombu writes it; `redis_client_url` translates it for redis-py."""
    path = socket_directory(state_dir / "redis") / "redis.sock"
    return f"redis+socket://{path}?virtual_host=0"


def socket_directory(home: Path) -> Path:
    if PLAIN_PATH.fullmatch(str(home)):
        return home
    name = hashlib.sha256(os.fsencode(home)).hexdigest()[:16]
    # Not $TMPDIR: all processes must use the same one. `make_private_directory` checks its owner.
    return Path("/tmp") / f"scheduler-{name}"  # noqa: S108 (its name is a hash, and the directory is private)
