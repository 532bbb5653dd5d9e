"""RabbitMQ as the broker: whether it is fit, and how many messages it holds."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from amqp.exceptions import (
    AccessRefused,
    AMQPError,
    ChannelError,
    MessageNacked,
    NotAllowed,
    NotFound,
    PreconditionFailed,
)
from celery import current_app
from kombu.exceptions import OperationalError
from kombu.pools import connections

from scheduler_service.brokers.options import BLOCKED_ERROR, Blocked
from tasks_api.messaging.errors import BrokerAway, UnusableBroker, UnusableForNow

# The routing key of the message that check_usable() sends. No queue has it, so RabbitMQ
# takes the message and drops it.
TRIAL_KEY = "scheduler.trial"
COMMAND_ERROR = "RabbitMQ refuses what this service needs: {}"
QUEUE_ERROR = (
    "RabbitMQ has a queue of this name, and it is of another kind. Delete it, and workers "
    "make it anew; no run depends on what is in it. RabbitMQ says: {}"
)
SILENCE_ERROR = "RabbitMQ answers, and confirms no message."


def check_usable(url: str, *, timeout: float) -> None:
    """Check that RabbitMQ has the queue of workers, or makes it, and takes messages.

    Raises UnusableBroker or BrokerAway.
    """
    with _named_errors(), _open_channel(url) as channel:
        queue = current_app.amqp.queues[current_app.conf.task_default_queue]
        queue(channel).queue_declare()
        try:
            channel.basic_publish(
                channel.prepare_message(b"", properties={"delivery_mode": 1}),
                routing_key=TRIAL_KEY,
                timeout=timeout,
            )
        except TimeoutError as error:
            raise UnusableForNow(SILENCE_ERROR) from error


def count_messages(url: str) -> int:
    """Return how many messages wait for a worker. Raises BrokerAway."""
    try:
        with _open_channel(url) as channel:
            name = current_app.conf.task_default_queue
            return int(channel.queue_declare(queue=name, passive=True).message_count)
    except NotFound:
        # No worker was there yet.
        return 0
    except (OperationalError, OSError, AMQPError) as error:
        raise BrokerAway(str(error)) from error


@contextmanager
def _open_channel(url: str) -> Iterator[Any]:
    """A channel of its own on a connection of the pool, which is dropped after an error."""
    pool = connections[current_app.connection_for_write(url)]
    with pool.acquire(block=True) as connection:
        try:
            # Connects within the limits of the options; channel() by itself does not.
            assert connection.default_channel
            channel = connection.channel()
            yield channel
            # Not after an error: RabbitMQ might not answer.
            channel.close()
        except Exception:
            connection.collect()
            raise


@contextmanager
def _named_errors() -> Iterator[None]:
    try:
        yield
    except PreconditionFailed as error:
        raise UnusableBroker(QUEUE_ERROR.format(error.reply_text)) from error
    except (AccessRefused, NotAllowed) as error:
        raise UnusableBroker(COMMAND_ERROR.format(error.reply_text)) from error
    except Blocked as error:
        raise UnusableForNow(BLOCKED_ERROR) from error
    except (ChannelError, MessageNacked) as error:
        raise UnusableForNow(COMMAND_ERROR.format(error)) from error
    except (OperationalError, OSError, AMQPError) as error:
        raise BrokerAway(str(error)) from error
