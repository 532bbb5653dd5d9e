"""How log lines look: one line each, in UTC, with the ids of what it is about.

And how they leave: whoever logs never waits for whoever reads.
"""

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

# What a line may be about: given as `extra`, and shown wherever it is given.
CONTEXT_FIELDS = ("run_id", "task_id", "tenant_id", "door", "address", "account")
# Lines that wait to be written; a process that logs more than is read drops the rest.
MAX_QUEUED_LINES = 10_000
# Seconds for the last lines of a process that ends.
FLUSH_TIMEOUT = 1.0
STDERR = 2

# What moves the cursor, ends a line or turns a text around, and halves of characters.
_UNPRINTABLE = re.compile(
    "[\x00-\x1f\x7f-\x9f\u2028\u2029\u202a-\u202e\u2066-\u2069\ud800-\udfff]"
)
_CREDENTIALS = re.compile(r"[^\s'\"/@]*:[^\s'\"/@]*@|(?<=://)[^\s'\"/@]+@")
_URL = re.compile(r"(\w+://)[^\s'\"]+")


def escape_unprintable(text: str) -> str:
    """The same with escapes for whatever could forge a line or confuse a terminal."""
    return _UNPRINTABLE.sub(_escape, text)


def _escape(found: re.Match[str]) -> str:
    character = found[0]
    short = {"\n": "\\n", "\r": "\\r", "\t": "\\t"}.get(character)
    return short or f"\\u{ord(character):04x}"


def redact_credentials(text: str) -> str:
    """The same without credentials, as a URL or what is left of one may have them."""
    return _CREDENTIALS.sub("…@", text) if "@" in text else text


def _format_time(record: logging.LogRecord) -> str:
    moment = datetime.fromtimestamp(record.created, tz=UTC)
    return moment.isoformat(timespec="milliseconds").replace("+00:00", "Z")


def _context_of(record: logging.LogRecord) -> dict[str, str]:
    given = vars(record)
    return {name: str(given[name]) for name in CONTEXT_FIELDS if name in given}


class _Formatter(logging.Formatter):
    def formatException(self, ei: object) -> str:
        """A traceback, in whose texts a URL says nothing but that it is one."""
        told = super().formatException(ei)  # type: ignore[arg-type]  # as logging has it
        return _URL.sub(r"\1…", redact_credentials(told))


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
        # Set in, so that none of it can pass for a line of its own.
        lines = super().formatException(ei).split("\n")
        return "\n".join(f"    {escape_unprintable(line)}" for line in lines)


class JSONFormatter(_Formatter):
    """For machines: an object for each line, whatever the message holds."""

    def format(self, record: logging.LogRecord) -> str:
        line = {
            "time": _format_time(record),
            "level": record.levelname,
            "logger": record.name,
            "message": redact_credentials(record.getMessage()),
            **_context_of(record),
            "process": record.process,
        }
        if record.exc_info:
            line["exception"] = self.formatException(record.exc_info)
        # JSON itself escapes fewer, and what is left stands in strings only.
        return escape_unprintable(json.dumps(line, ensure_ascii=False))


class NonBlockingHandler(logging.Handler):
    """Writes lines in a thread of its own, and drops and counts what nobody reads.

    A pipe that is full would otherwise hold up whoever logs: a worker would lose its
    leases for it.
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
        """With nothing to write; a process that was forked has no thread yet."""
        self._lines: SimpleQueue[str | threading.Event] = SimpleQueue()
        self._thread: threading.Thread | None = None

    def emit(self, record: logging.LogRecord) -> None:
        if self._lines.qsize() >= self._capacity:
            self.dropped += 1
            return
        try:
            line = self.format(record)
        except Exception:  # noqa: BLE001 (a line that cannot be made ends nothing)
            line = f"A line of {record.name} could not be formatted."
        # Not a Queue, whose lock a signal's handler could find held by its own thread.
        self._lines.put(line)
        self._ensure_thread()
        if record.levelno >= logging.CRITICAL:
            self.flush()

    def flush(self) -> None:
        """Wait for what is there to be written, and not for long."""
        if self._thread is not None:
            written = threading.Event()
            self._lines.put(written)
            written.wait(FLUSH_TIMEOUT)

    def _ensure_thread(self) -> None:
        # The lock of a handler is held here, so there is one.
        if self._thread is None:
            self._thread = threading.Thread(
                target=self._write_forever, name="log", daemon=True
            )
            # A process that ends starts no thread any more.
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
        told = (__name__, logging.WARNING, __file__, 0, text, (lost,), None)
        return self.format(logging.LogRecord(*told))

    def _write(self, line: str) -> None:
        rest = f"{line}\n".encode(errors="backslashreplace")
        # With nobody there to read, there is nobody to tell either.
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
