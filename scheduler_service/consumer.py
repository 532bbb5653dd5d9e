"""What a worker takes from its broker: messages that are its own, and questions.

Whoever can write to Redis writes messages and commands. None of them ends a worker or
stops its work: what cannot be read is dropped, and commands that change a worker are
not known here.
"""

from __future__ import annotations

import errno
import logging
import time
from collections.abc import Callable, Mapping
from typing import Any

from celery import bootsteps, signals
from celery.apps import worker as apps_worker
from celery.utils.time import maybe_iso8601
from celery.worker import control
from celery.worker.consumer import Consumer, Tasks
from kombu.exceptions import OperationalError

from scheduler_service.celery import app
from scheduler_service.compat.kombu_redis import is_loss, outlive_messages
from tasks_api import tasks

logger = logging.getLogger(__name__)

# How often it is asked whether messages may be taken, in seconds.
LOOK = 0.5
# What Flower asks; everything else that Celery's panel can do is left out.
QUESTIONS = frozenset(
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
# Workers greet each other by the first, and Flower calls for events by the second.
GREETINGS = frozenset({"hello", "enable_events"})
# Celery's own tasks can call any other.
CELERYS_OWN = "celery."


class Unreadable(Exception):
    """A message is none of those that this service sends; the text says why."""


def leave_questions_only() -> None:
    """Let nobody reconfigure or stop a worker, or read its settings, through the broker."""
    panel: dict[str, Callable[..., Any]] = control.Panel.data
    for name in panel.keys() - QUESTIONS - GREETINGS:
        # Left out, each would be an error with a traceback to whoever is asked.
        panel[name] = _nothing


def _nothing(_state: Any, **_kwargs: Any) -> dict[str, Any]:
    return {}


_Blueprint: Any = Consumer.Blueprint


class Tolerant(Consumer):
    """Celery's consumer, which drops what it cannot read, says so, and goes on."""

    # Of the broker's client; the stubs leave them out.
    connection_errors: tuple[type[Exception], ...]
    channel_errors: tuple[type[Exception], ...]

    class Blueprint(_Blueprint):  # type: ignore[misc]  # the stubs leave it out
        def start(self, parent: Any) -> None:
            try:
                super().start(parent)
            except (OSError, OperationalError) as error:
                if not lacks_files(error):
                    raise
                # Celery would end the worker for it, and say that all is well.
                time.sleep(LOOK)
                raise ConnectionError(str(error)) from error

    def on_connection_error_before_connected(self, exc: Exception) -> None:
        # Celery names the broker here, and needs a file for that.
        logger.error("The broker cannot be reached: %s", exc)

    def create_task_handler(self, *args: Any, **kwargs: Any) -> Callable[[Any], None]:
        handle = super().create_task_handler(*args, **kwargs)

        def on_task_received(message: Any) -> None:
            try:
                check(message, self.app.tasks)
                handle(message)
            except Exception as error:
                # A message must not end the worker.
                if is_loss(error, self.connection_errors + self.channel_errors):
                    raise
                self._drop(message, error)

        return on_task_received

    def on_decode_error(self, message: Any, error: Exception) -> None:
        self._drop(message, error)

    def on_unknown_message(self, _body: Any, message: Any) -> None:
        self._drop(message, Unreadable("it names no task"))

    def on_unknown_task(self, _body: Any, message: Any, error: Exception) -> None:
        self._drop(message, error)

    def on_invalid_task(self, _body: Any, message: Any, error: Exception) -> None:
        self._drop(message, error)

    def _drop(self, message: Any, error: Exception) -> None:
        if not message.acknowledged:
            message.ack_log_error(logger, self.connection_errors)
        tell_of_drop(error)


def lacks_files(error: BaseException | None) -> bool:
    """Whether this process may open no more, and because of that all the rest."""
    while error is not None:
        if isinstance(error, OSError) and error.errno == errno.EMFILE:
            return True
        error = error.__cause__ or error.__context__
    return False


class Gate(bootsteps.StartStopStep):
    """Takes no messages while this worker could do nothing with them.

    Other workers get them: Redis gives a message to whoever waits for one.
    """

    requires = (Tasks,)

    def __init__(self, consumer: Any, **kwargs: Any) -> None:
        super().__init__(consumer, **kwargs)
        self._timer: Any = None

    def start(self, consumer: Any) -> None:
        channel = consumer.task_consumer.channel
        has_room = channel.qos.can_consume

        def can_consume() -> bool:
            # What Redis was asked for already may come, and is then handed back.
            return bool((channel._in_poll or tasks.can_take_messages()) and has_room())

        channel.qos.can_consume = can_consume
        self._timer = consumer.timer.call_repeatedly(LOOK, tasks.hand_over_backlog)

    def stop(self, consumer: Any) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None


def _say(message: str, _file: Any = None) -> None:
    """What Celery's signal handlers write to a descriptor that nobody may read."""
    logger.info("%s", message.strip())


def tell_of_drop(error: Exception) -> None:
    """Log and count that a message was dropped; what was in it is nobody's business."""
    why = str(error) if isinstance(error, Unreadable) else type(error).__name__
    logger.warning("A message that cannot be read was dropped: %s.", why)
    signals.task_rejected.send(sender=None, message=None, exc=error)


def check(message: Any, tasks: Mapping[str, Any]) -> None:
    """Raise Unreadable unless the message is of the form that Celery sends here."""
    headers = message.headers
    if not isinstance(headers, dict):
        raise Unreadable("its headers are none")
    name = headers.get("task")
    if (
        not isinstance(name, str)
        or name.startswith(CELERYS_OWN)
        or name not in tasks.keys()  # noqa: SIM118 (asked for itself, it makes tasks)
    ):
        raise Unreadable("its task is unknown")
    if not isinstance(headers.get("id"), str):
        raise Unreadable("it has no id")
    _check_headers(headers)
    _check_body(message.payload, tasks[name])


def _check_headers(headers: dict[str, Any]) -> None:
    if headers.get("eta") or headers.get("group") or headers.get("chord"):
        raise Unreadable("it wants what this service never asks for")
    if not isinstance(headers.get("retries", 0), int):
        raise Unreadable("its retries are no number")
    if headers.get("timelimit") not in (None, [None, None], (None, None)):
        raise Unreadable("it has limits of time")
    expires = headers.get("expires")
    if expires is not None:
        if not isinstance(expires, str):
            raise Unreadable("its end is no moment")
        maybe_iso8601(expires)


def _check_body(body: Any, task: Any) -> None:
    if not (isinstance(body, list | tuple) and len(body) == 3):
        raise Unreadable("its body is of another form")
    args, kwargs, embedded = body
    if not (isinstance(args, list | tuple) and isinstance(kwargs, dict)):
        raise Unreadable("its arguments are of another form")
    if not isinstance(embedded, dict) or any(embedded.values()):
        raise Unreadable("it calls other tasks")
    try:
        task.__header__(*args, **kwargs)
    except TypeError:
        raise Unreadable("its arguments are not its task's") from None


app.steps["consumer"].add(Gate)
leave_questions_only()
outlive_messages(tell_of_drop)
_apps_worker: Any = apps_worker
_apps_worker.safe_say = _say
