"""What goes wrong with a broker, whichever it is."""

from __future__ import annotations

import redis
from amqp.exceptions import AMQPError, MessageNacked
from kombu.exceptions import OperationalError

# What Celery raises when a message could not be sent. The errors of RabbitMQ's channels,
# such as a queue of another kind, are no OperationalErrors.
SEND_ERRORS: tuple[type[Exception], ...] = (
    OperationalError,
    OSError,
    redis.RedisError,
    AMQPError,
    MessageNacked,
)


class BrokerAway(Exception):
    """The broker does not answer; the text says what was tried."""


class UnusableBroker(Exception):
    """Workers cannot use this broker; the text says why."""


class UnusableForNow(UnusableBroker):
    """The trouble may pass without an operator, so a start need not fail for it."""
