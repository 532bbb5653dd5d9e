"""Format log records as one line each, in UTC, and write them without blocking the caller."""

from __future__ import annotations

import json
import logging
import os
import re
import select
import threading
import weakref
from contextlib import suppress
from datetime import UTC, datetime
from queue import SimpleQueue

# Fields of `extra` that are shown when a record has them.
CONTEXT_FIELDS = ("run_id", "task_id", "tenant_id", "credential", "address", "account")
# Lines that wait to be written; further ones are dropped.
MAX_QUEUED_LINES = 10_000
# Seconds that a process waits for its last lines to be written.
FLUSH_TIMEOUT = 1.0
STDERR = 2

# Control characters, line ends, changes of the text direction, and surrogates.
_UNPRINTABLE = re.compile(
    "[\x00-\x1f\x7f-\x9f\u2028\u2029\u202a-\u202e\u2066-\u2069\ud800-\udfff]"
)
_CREDENTIALS = re.compile(r"[^\s'\"/@]*:[^\s'\"/@]*@|(?<=://)[^\s'\"/@]+@")
_URL = re.compile(r"(\w+://)[^\s'\"]+")


def escape_unprintable(text: str) -> str:
    """The text with escapes for what could forge a line or confuse a terminal."""
    return _UNPRINTABLE.sub(_escape, text)


def _escape(found: re.Match[str]) -> str:
    character = found[0]
    short = {"\n": "\\n", "\r": "\\r", "\t": "\\t"}.get(character)
    return short or f"\\u{ord(character):04x}"


def redact_credentials(text: str) -> str:
    """The text without the credentials of URLs, complete or not."""
    return _CREDENTIALS.sub("…@", text) if "@" in text else text


def _format_time(record: logging.LogRecord) -> str:
    moment = datetime.fromtimestamp(record.created, tz=UTC)
    return moment.isoformat(timespec="milliseconds").replace("+00:00", "Z")


def _context_of(record: logging.LogRecord) -> dict[str, str]:
    given = vars(record)
    return {name: str(given[name]) for name in CONTEXT_FIELDS if name in given}


class _Formatter(logging.Formatter):
    def formatException(self, ei: object) -> str:
        """A traceback in which nothing but the scheme is left of a URL."""
        text = super().formatException(ei)  # type: ignore[arg-type]  # as logging has it
        return _URL.sub(r"\1…", redact_credentials(text))


class TextFormatter(_Formatter):
    """For people."""

    def formatTime(self, record: logging.LogRecord, datefmt: str | None = None) -> str:
        return _format_time(record)

    def formatMessage(self, record: logging.LogRecord) -> str:
        ids = "".join(f" {name}={value}" for name, value in _context_of(record).items())
        return escape_unprintable(
            redact_credentials(super().formatMessage(record) + ids)
        )

    def formatException(self, ei: object) -> str:
        # Indented, so that no line of it can pass for a log line.
        lines = super().formatException(ei).split("\n")
        return "\n".join(f"    {escape_unprintable(line)}" for line in lines)


class JSONFormatter(_Formatter):
    """For machines: an object for each line, whatever the message holds."""

    def __init__(self, cell: str = "") -> None:
        super().__init__()
        self._fixed = {"cell": cell} if cell else {}

    def format(self, record: logging.LogRecord) -> str:
        line = {
            "time": _format_time(record),
            "level": record.levelname,
            "logger": record.name,
            "message": redact_credentials(record.getMessage()),
            **_context_of(record),
            **self._fixed,
            "process": record.process,
        }
        if record.exc_info:
            line["exception"] = self.formatException(record.exc_info)
        # JSON escapes fewer characters; the rest can occur in its strings only.
        return escape_unprintable(json.dumps(line, ensure_ascii=False))


class NonBlockingHandler(logging.Handler):
    """Writes lines in its own thread; drops and counts lines that no process reads.

    Without it a full pipe would block every thread that logs, and a worker would lose its
    leases.
    """

    def __init__(
        self, descriptor: int = STDERR, capacity: int = MAX_QUEUED_LINES
    ) -> None:
        super().__init__()
        self._descriptor = descriptor
        self._capacity = capacity
        self.dropped = 0
        self._reported = 0
        self._reset()
        _handlers.add(self)

    def _reset(self) -> None:
        """Start with an empty queue and without a thread, as after a fork."""
        self._lines: SimpleQueue[str | threading.Event] = SimpleQueue()
        self._thread: threading.Thread | None = None

    def emit(self, record: logging.LogRecord) -> None:
        if self._lines.qsize() >= self._capacity:
            self.dropped += 1
            return
        try:
            line = self.format(record)
        except Exception:  # noqa: BLE001 (a record that cannot be formatted must end nothing)
            line = f"A line of {record.name} could not be formatted."
        # Not a Queue: a signal handler could deadlock on its lock.
        self._lines.put(line)
        self._ensure_thread()
        if record.levelno >= logging.CRITICAL:
            self.flush()

    def flush(self) -> None:
        """Wait for the lines in the queue to be written, up to FLUSH_TIMEOUT."""
        if self._thread is not None:
            written = threading.Event()
            self._lines.put(written)
            written.wait(FLUSH_TIMEOUT)

    def _ensure_thread(self) -> None:
        # The caller holds the lock of the handler, so only one thread is created.
        if self._thread is None:
            self._thread = threading.Thread(
                target=self._write_forever, name="log", daemon=True
            )
            # A process that is exiting cannot start a thread.
            with suppress(RuntimeError):
                self._thread.start()

    def _write_forever(self) -> None:
        while True:
            line = self._lines.get()
            if isinstance(line, threading.Event):
                line.set()
                continue
            self._write(line)
            if self.dropped > self._reported:
                lost, self._reported = self.dropped - self._reported, self.dropped
                self._write(self._format_drop_warning(lost))

    def _format_drop_warning(self, lost: int) -> str:
        text = "%d lines of log were dropped, because nobody read them in time."
        arguments = (__name__, logging.WARNING, __file__, 0, text, (lost,), None)
        return self.format(logging.LogRecord(*arguments))

    def _write(self, line: str) -> None:
        rest = f"{line}\n".encode(errors="backslashreplace")
        # The reader is gone, and an error could not be logged either.
        with suppress(OSError):
            while rest:
                try:
                    rest = rest[os.write(self._descriptor, rest) :]
                except BlockingIOError:
                    select.select([], [self._descriptor], [])


_handlers: weakref.WeakSet[NonBlockingHandler] = weakref.WeakSet()


def _reset_after_fork() -> None:
    for handler in list(_handlers):
        handler._reset()


os.register_at_fork(after_in_child=_reset_after_fork)


def count_dropped() -> int:
    """How many lines this process has dropped."""
    return sum(handler.dropped for handler in list(_handlers))
