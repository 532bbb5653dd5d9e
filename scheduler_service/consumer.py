"""Limit the messages and remote control commands that a worker accepts from its broker.

Any client that can write to the broker can send messages and commands. None of them ends a
worker or stops its work: an unreadable message is dropped, and commands that change a
worker are disabled.
"""

from __future__ import annotations

import errno
import logging
import time
from collections.abc import Callable, Mapping
from typing import Any

from celery import bootsteps, signals
from celery.utils.time import maybe_iso8601
from celery.worker.consumer import Consumer, Tasks
from kombu.exceptions import OperationalError

from scheduler_service.celery import app
from scheduler_service.compat import celery_worker, kombu_amqp, kombu_redis
from tasks_api import tasks

logger = logging.getLogger(__name__)

# Seconds between looks at whether messages may be taken.
GATE_INTERVAL = 1.0
# Flower sends these.
ALLOWED_COMMANDS = frozenset(
    [
        "ping",
        "stats",
        "active_queues",
        "registered",
        "scheduled",
        "active",
        "reserved",
        "revoked",
    ]
)
# Workers greet each other by the first, and Flower asks for events by the second.
WORKER_COMMANDS = frozenset({"hello", "enable_events"})
# Tasks of Celery itself, such as chords, could call any other task.
CELERY_PREFIX = "celery."


class UnreadableMessage(Exception):
    """The message is none that this service sends; the text says why."""


_Blueprint: Any = Consumer.Blueprint


class TolerantConsumer(Consumer):
    """Celery's consumer, which logs and drops a message it cannot read, and goes on."""

    # Set by Celery; the stubs leave them out.
    connection_errors: tuple[type[Exception], ...]
    channel_errors: tuple[type[Exception], ...]

    class Blueprint(_Blueprint):  # type: ignore[misc]  # the stubs leave it out
        # It makes RabbitMQ's queues for messages with an ETA, and none has one here.
        default_steps = tuple(
            step
            for step in _Blueprint.default_steps
            if not step.endswith(":DelayedDelivery")
        )

        def start(self, parent: Any) -> None:
            try:
                super().start(parent)
            except (OSError, OperationalError) as error:
                if not is_out_of_files(error):
                    raise
                # Celery would end the worker with exit code 0.
                time.sleep(GATE_INTERVAL)
                raise ConnectionError(str(error)) from error

    def on_connection_error_before_connected(self, exc: Exception) -> None:
        # Celery would open a file here to name the broker; there may be none left.
        logger.error("The broker cannot be reached: %s", exc)

    def create_task_handler(self, *args: Any, **kwargs: Any) -> Callable[[Any], None]:
        handle = super().create_task_handler(*args, **kwargs)

        def on_task_received(message: Any) -> None:
            try:
                check_message(message, self.app.tasks)
                handle(message)
            except Exception as error:
                # A message must not end the worker.
                if kombu_redis.is_connection_lost(
                    error, self.connection_errors + self.channel_errors
                ):
                    raise
                self._drop(message, error)

        return on_task_received

    def on_decode_error(self, message: Any, error: Exception) -> None:
        self._drop(message, error)

    def on_unknown_message(self, _body: Any, message: Any) -> None:
        self._drop(message, UnreadableMessage("it names no task"))

    def on_unknown_task(self, _body: Any, message: Any, error: Exception) -> None:
        self._drop(message, error)

    def on_invalid_task(self, _body: Any, message: Any, error: Exception) -> None:
        self._drop(message, error)

    def _drop(self, message: Any, error: Exception) -> None:
        if not message.acknowledged:
            message.ack_log_error(logger, self.connection_errors)
        report_drop(error)


def is_out_of_files(error: BaseException | None) -> bool:
    """Whether an error comes from the limit on open files."""
    while error is not None:
        if isinstance(error, OSError) and error.errno == errno.EMFILE:
            return True
        error = error.__cause__ or error.__context__
    return False


class PrefetchGate(bootsteps.StartStopStep):
    """Takes no messages while this worker could not work on them.

    Other workers get them: a broker gives a message to any worker that waits for one.
    """

    requires = (Tasks,)

    def __init__(self, consumer: Any, **kwargs: Any) -> None:
        super().__init__(consumer, **kwargs)
        self._timer: Any = None
        self._pause: kombu_amqp.ConsumerPause | None = None

    def start(self, consumer: Any) -> None:
        channel = consumer.task_consumer.channel
        if kombu_amqp.is_rabbitmq(channel):
            self._pause = kombu_amqp.ConsumerPause(consumer.task_consumer)
        else:
            kombu_redis.take_messages_only_if(tasks.can_take_messages, channel)
        self._timer = consumer.timer.call_repeatedly(GATE_INTERVAL, self._look)

    def _look(self) -> None:
        tasks.log_contact()
        if self._pause is not None:
            self._pause.take_messages_if(tasks.can_take_messages())

    def stop(self, consumer: Any) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None


def report_drop(error: Exception) -> None:
    """Log and count a dropped message, without its contents."""
    why = str(error) if isinstance(error, UnreadableMessage) else type(error).__name__
    logger.warning("A message that cannot be read was dropped: %s.", why)
    signals.task_rejected.send(sender=None, message=None, exc=error)


def check_message(message: Any, tasks: Mapping[str, Any]) -> None:
    """Raise Unreadable unless the message is of the form that Celery sends here."""
    headers = message.headers
    if not isinstance(headers, dict):
        raise UnreadableMessage("its headers are none")
    name = headers.get("task")
    if (
        not isinstance(name, str)
        or name.startswith(CELERY_PREFIX)
        or name not in tasks.keys()  # noqa: SIM118 (the registry itself would create the task)
    ):
        raise UnreadableMessage("its task is unknown")
    if not isinstance(headers.get("id"), str):
        raise UnreadableMessage("it has no id")
    _check_headers(headers)
    _check_body(message.payload, tasks[name])


def _check_headers(headers: dict[str, Any]) -> None:
    if headers.get("eta") or headers.get("group") or headers.get("chord"):
        raise UnreadableMessage("it wants what this service never asks for")
    if not isinstance(headers.get("retries", 0), int):
        raise UnreadableMessage("its retries are no number")
    if headers.get("timelimit") not in (None, [None, None], (None, None)):
        raise UnreadableMessage("it has limits of time")
    expires = headers.get("expires")
    if expires is not None:
        if not isinstance(expires, str):
            raise UnreadableMessage("its end is no moment")
        maybe_iso8601(expires)


def _check_body(body: Any, task: Any) -> None:
    if not (isinstance(body, list | tuple) and len(body) == 3):
        raise UnreadableMessage("its body is of another form")
    args, kwargs, embedded = body
    if not (isinstance(args, list | tuple) and isinstance(kwargs, dict)):
        raise UnreadableMessage("its arguments are of another form")
    if not isinstance(embedded, dict) or any(embedded.values()):
        raise UnreadableMessage("it calls other tasks")
    try:
        task.__header__(*args, **kwargs)
    except TypeError:
        raise UnreadableMessage("its arguments are not its task's") from None


app.steps["consumer"].add(PrefetchGate)
celery_worker.disable_commands(except_for=ALLOWED_COMMANDS | WORKER_COMMANDS)
celery_worker.log_instead_of_printing(logger)
kombu_amqp.limit_heartbeats()
kombu_redis.drop_unreadable_messages(report_drop)
