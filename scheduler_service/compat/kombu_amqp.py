"""Know whether a message to all listeners reached one, and pause a consumer, on RabbitMQ.

Uses py-amqp's channels as they are: RabbitMQ returns a message with `mandatory` that
reaches no queue, and does so before it confirms it. kombu has no word for either.
"""

from __future__ import annotations

from typing import Any

DRIVER = "amqp"
RETURN_EVENT = "basic_return"


def is_rabbitmq(channel: Any) -> bool:
    return bool(channel.connection.client.transport.driver_type == DRIVER)


class Returns:
    """Notes whether RabbitMQ returns messages of a channel."""

    def __init__(self, channel: Any) -> None:
        self._channel = channel
        self.were_any = False

    def __enter__(self) -> Returns:
        self._channel.events[RETURN_EVENT].add(self._note)
        return self

    def __exit__(self, *_: object) -> None:
        self._channel.events[RETURN_EVENT].discard(self._note)

    def _note(self, *_: object) -> None:
        self.were_any = True


class ConsumerPause:
    """Tells RabbitMQ to send this worker no messages, and to send some again."""

    def __init__(self, consumer: Any) -> None:
        self._consumer = consumer
        self._is_paused = False

    def take_messages_if(self, may_take: bool) -> None:
        if may_take and self._is_paused:
            self._consumer.consume()
        elif not may_take and not self._is_paused:
            self._consumer.cancel()
        self._is_paused = not may_take
