"""Borrow a producer of Celery's pool."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

RABBITMQ_DRIVER = "amqp"


@contextmanager
def acquire_producer(app: Any) -> Iterator[Any]:
    """Lend a producer, and drop its connection to RabbitMQ if the block fails.

    kombu would keep a channel that RabbitMQ has closed, and each message after it would fail.
    """
    with app.amqp.producer_pool.acquire(block=True) as producer:
        try:
            yield producer
        except Exception:
            connection = producer.connection
            if connection.transport.driver_type == RABBITMQ_DRIVER:
                connection.collect()
            raise
