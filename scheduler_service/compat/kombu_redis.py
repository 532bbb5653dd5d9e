"""A worker that survives the loss of Redis, unreadable messages, and a pause in taking any.

It also knows how many clients have received an event.

Changes `Channel` and `QoS` of kombu 5.7.0; another version is left as it is.

While it reconnects, Celery 5.7.0 closes the old connection, which restores unacknowledged
messages through a channel that has lost its client. That raises an AttributeError, for
which Celery does not reconnect: the worker exits. It reconnects for a ConnectionError.

kombu also parses any text that somebody put into a queue where an error ends the worker.
"""

from __future__ import annotations

from collections.abc import Callable
from importlib.metadata import version
from queue import Empty
from typing import Any

import redis
from kombu.transport.redis import Channel, QoS
from kombu.utils.json import dumps

PATCHED_VERSION = "5.7.0"


def survive_broker_loss() -> None:
    """Raise a ConnectionError where a channel has lost its client."""
    if version("kombu") != PATCHED_VERSION:
        return
    channel: Any = Channel
    original = channel._connparams

    def _connparams(self: Any, *args: Any, **kwargs: Any) -> Any:
        if getattr(self.connection, "client", None) is None:
            raise redis.ConnectionError("The connection to the broker is closed.")
        return original(self, *args, **kwargs)

    channel._connparams = _connparams


def count_receivers() -> None:
    """Note on a channel how many clients received its last message to all listeners.

    Redis answers with their number, which kombu drops.
    """
    if version("kombu") != PATCHED_VERSION:
        return
    channel: Any = Channel
    original = channel._put_fanout

    def _put_fanout(
        self: Any, exchange: str, message: Any, routing_key: str, **options: Any
    ) -> None:
        if options.get("_publish_batch") is not None:
            original(self, exchange, message, routing_key, **options)
            return
        payload = dumps(message)
        with self.conn_or_acquire() as client:
            self.receiver_count = sum(
                client.publish(topic, payload)
                for topic in self._get_publish_topics(exchange, routing_key)
            )

    channel._put_fanout = _put_fanout


def read_receiver_count(channel: Any) -> int | None:
    """How many clients received the last message to all listeners; None if unknown."""
    count: int | None = getattr(channel, "receiver_count", None)
    return count


def drop_unreadable_messages(on_drop: Callable[[Exception], None]) -> None:
    """Drop what is no message, wherever it is read, and call `on_drop` for each."""
    if version("kombu") != PATCHED_VERSION:
        return
    channel: Any = Channel
    read, receive = channel._brpop_read, channel._receive_one

    def _brpop_read(self: Any, **options: Any) -> Any:
        return _read_or_drop(self, lambda: read(self, **options), on_drop)

    def _receive_one(self: Any, client: Any) -> Any:
        return _read_or_drop(self, lambda: receive(self, client), on_drop)

    channel._brpop_read, channel._receive_one = _brpop_read, _receive_one
    _drop_unreadable_unacknowledged(on_drop)


def take_messages_only_if(may_take: Callable[[], bool], channel: Any) -> None:
    """Let one channel ask Redis for messages only while `may_take()` is true."""
    has_room = channel.qos.can_consume

    def can_consume() -> bool:
        # What Redis was asked for already may come, and is then handed back.
        return bool((channel._in_poll or may_take()) and has_room())

    channel.qos.can_consume = can_consume


def is_connection_lost(error: Exception, expected: tuple[type[Exception], ...]) -> bool:
    """Whether the broker is lost. kombu wrongly counts a KeyError as that, too."""
    return isinstance(error, expected) and not isinstance(error, KeyError)


def _read_or_drop(
    channel: Any, read: Callable[[], Any], on_drop: Callable[[Exception], None]
) -> Any:
    connection = channel.connection
    try:
        return read()
    except (Empty, MemoryError):
        raise
    except Exception as error:
        if is_connection_lost(
            error, connection.connection_errors + connection.channel_errors
        ):
            raise
        on_drop(error)
        return True


def _drop_unreadable_unacknowledged(on_drop: Callable[[Exception], None]) -> None:
    qos: Any = QoS
    original = qos.restore_by_tag

    def restore_by_tag(
        self: Any, tag: Any, client: Any = None, leftmost: bool = False
    ) -> None:
        try:
            original(self, tag, client, leftmost)
        except (ValueError, TypeError, KeyError, AttributeError) as error:
            # Left there, it would keep those behind it from being restored.
            with self.channel.conn_or_acquire(client) as connected:
                self._remove_from_indices(tag, connected.pipeline()).execute()
            on_drop(error)

    qos.restore_by_tag = restore_by_tag
