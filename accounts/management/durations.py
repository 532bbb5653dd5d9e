"""Durations as people write them on a command line: 90d, 12h, 30m, 45s."""

from __future__ import annotations

import re
from argparse import ArgumentTypeError
from datetime import timedelta

DURATION = re.compile(r"([0-9]{1,6})([smhdw])")
UNITS = {"s": "seconds", "m": "minutes", "h": "hours", "d": "days", "w": "weeks"}


def parse_duration(text: str) -> timedelta:
    """A number and its unit, one of s, m, h, d and w; a type for `add_argument`."""
    found = DURATION.fullmatch(text)
    if found is None:
        raise ArgumentTypeError(f"{text!r} is no duration such as 90d or 12h")
    number, unit = found.groups()
    return timedelta(**{UNITS[unit]: int(number)})
