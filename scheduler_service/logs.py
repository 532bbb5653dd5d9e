"""How log lines look: one line each, in UTC, with the ids of what it is about."""

from __future__ import annotations

import json
import logging
from datetime import UTC, datetime

# What a line may be about: given as `extra`, and shown wherever it is given.
IDS = ("run_id", "task_id", "tenant_id", "door", "address", "account")


def _moment(record: logging.LogRecord) -> str:
    moment = datetime.fromtimestamp(record.created, tz=UTC)
    return moment.isoformat(timespec="milliseconds").replace("+00:00", "Z")


def _ids(record: logging.LogRecord) -> dict[str, str]:
    given = vars(record)
    return {name: str(given[name]) for name in IDS if name in given}


class TextFormatter(logging.Formatter):
    """For people."""

    def formatTime(self, record: logging.LogRecord, datefmt: str | None = None) -> str:
        return _moment(record)

    def formatMessage(self, record: logging.LogRecord) -> str:
        ids = "".join(f" {name}={value}" for name, value in _ids(record).items())
        return super().formatMessage(record) + ids


class JSONFormatter(logging.Formatter):
    """For machines: an object for each line, whatever the message holds."""

    def format(self, record: logging.LogRecord) -> str:
        line = {
            "time": _moment(record),
            "level": record.levelname,
            "logger": record.name,
            "message": record.getMessage(),
            **_ids(record),
            "process": record.process,
        }
        if record.exc_info:
            line["exception"] = self.formatException(record.exc_info)
        return json.dumps(line, ensure_ascii=False)
