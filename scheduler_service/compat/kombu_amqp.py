"""Listeners, pauses and heartbeats of workers on RabbitMQ, for which kombu has no words.

RabbitMQ returns a message with `mandatory` that reaches no queue before it confirms it.

Changes `EventDispatcher._publish` of Celery 5.7: a worker sends its heartbeat again and
again until RabbitMQ takes it, and meanwhile takes no messages and cannot be stopped. Needed
until Celery limits that.
"""

from __future__ import annotations

from typing import Any

from celery.events.dispatcher import EventDispatcher

DRIVER = "amqp"
RETRY_ONCE = {"max_retries": 1, "interval_start": 0, "interval_step": 0}
RETURN_EVENT = "basic_return"


def is_rabbitmq(channel: Any) -> bool:
    return bool(channel.connection.client.transport.driver_type == DRIVER)


def limit_heartbeats() -> None:
    """Let a heartbeat that RabbitMQ does not take be sent again once only."""
    dispatcher: Any = EventDispatcher
    original = dispatcher._publish

    def _publish(
        self: Any, event: Any, producer: Any, *args: Any, **options: Any
    ) -> Any:
        if producer and producer.connection.transport.driver_type == DRIVER:
            options["retry_policy"] = RETRY_ONCE
        return original(self, event, producer, *args, **options)

    dispatcher._publish = _publish


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
