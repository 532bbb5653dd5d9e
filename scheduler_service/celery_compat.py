"""A worker outlives its Redis: mends kombu 5.7.0, where a lost broker can end it.

While it reconnects, Celery 5.7.0 closes the old connection, which restores unacknowledged
messages through a channel that has lost its client. The AttributeError of that is none of
the errors that Celery reconnects for, so the worker exits. As a ConnectionError, it is.
"""

from __future__ import annotations

from importlib.metadata import version
from typing import Any

import redis
from kombu.transport.redis import Channel


def outlive_redis() -> None:
    """Patch the one version that needs it."""
    if version("kombu") != "5.7.0":
        return
    channel: Any = Channel
    original = channel._connparams

    def _connparams(self: Any, *args: Any, **kwargs: Any) -> Any:
        if getattr(self.connection, "client", None) is None:
            raise redis.ConnectionError("The connection to the broker is closed.")
        return original(self, *args, **kwargs)

    channel._connparams = _connparams
