"""How log lines look: one line, UTC, ISO 8601."""

from __future__ import annotations

import logging
from datetime import UTC, datetime


class UTCFormatter(logging.Formatter):
    def formatTime(self, record: logging.LogRecord, datefmt: str | None = None) -> str:
        moment = datetime.fromtimestamp(record.created, tz=UTC)
        return moment.isoformat(timespec="milliseconds").replace("+00:00", "Z")
