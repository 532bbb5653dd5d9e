"""The API of calendars: days and spans of time by which tasks fire or wait."""

from __future__ import annotations
