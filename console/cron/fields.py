"""What each field of a cron expression means, and which of them is wrong."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from typing import NamedTuple

from tasks_api.domain import cron
from tasks_api.domain.exceptions import ScheduleError
from tasks_api.domain.schedule_words import (
    COUNTS,
    DAYS_OF_WEEK,
    MONTH,
    MONTHS,
    WEEKDAY,
    split_field,
)

NAMES = ("second", "minute", "hour", "day of month", "month", "weekday", "year")
ALLOWED = (
    "0 to 59",
    "0 to 59",
    "0 to 23",
    "1 to 31, L, LW",
    "1 to 12, JAN to DEC",
    "0 to 7, SUN to SAT, SUN#1, 5L",
    "1970 to 9999",
)
_PLAIN = ("0", "*", "*", "*", "*", "*", "*")
ORDINALS = ("first", "second", "third", "fourth", "fifth")


class FieldMeaning(NamedTuple):
    """A field as it is written, what it matches, and what it may be."""

    name: str
    text: str
    meaning: str
    allowed: str
    is_wrong: bool = False


def explain_fields(fields: cron.Fields) -> list[FieldMeaning]:
    """Explain all seven fields; those that the expression leaves out have a default."""
    texts = (fields.seconds, *fields.expression.split(), fields.years)
    return [
        FieldMeaning(NAMES[index], text, _meaning(index, text.upper()), ALLOWED[index])
        for index, text in enumerate(texts)
    ]


def find_wrong_fields(expression: str) -> list[FieldMeaning]:
    """Return the fields as they are written, the wrong ones marked; none if they are not 5 to 7."""
    parts = expression.replace("?", "*").split()
    if not 5 <= len(parts) <= 7:
        return []
    first = 0 if len(parts) >= 6 else 1
    return [
        FieldMeaning(
            NAMES[index], text, "", ALLOWED[index], is_wrong=_is_wrong(index, text)
        )
        for index, text in enumerate(parts, start=first)
    ]


def _is_wrong(index: int, text: str) -> bool:
    parts = [*_PLAIN[:index], text, *_PLAIN[index + 1 :]]
    try:
        cron.check(cron.Fields(" ".join(parts[1:-1]), parts[0], parts[-1]))
    except ScheduleError:
        return True
    return False


def _meaning(index: int, text: str) -> str:
    name = NAMES[index]
    if index == len(COUNTS):
        return "every year" if text == "*" else text.replace("-", " to ")
    values, special = split_field(index, text)
    if len(values) == COUNTS[index]:
        return "every day" if "day" in name else f"every {name}"
    named = [_span(index, run) for run in _runs(sorted(values))]
    return ", ".join([*named, *map(_special, special)])


def _runs(values: Sequence[int]) -> Iterator[list[int]]:
    """Yield the values in runs without a hole."""
    run: list[int] = []
    for value in values:
        if run and value != run[-1] + 1:
            yield run
            run = []
        run.append(value)
    if run:
        yield run


def _span(index: int, run: Sequence[int]) -> str:
    if len(run) < 3:
        return ", ".join(_named(index, value) for value in run)
    return f"{_named(index, run[0])} to {_named(index, run[-1])}"


def _named(index: int, value: int) -> str:
    if index == MONTH:
        return MONTHS[value - 1].title()
    return DAYS_OF_WEEK[value].title() if index == WEEKDAY else str(value)


def _special(text: str) -> str:
    if text == "L":
        return "the last day"
    if text == "LW":
        return "the last day from Mon to Fri"
    day, _, which = text.partition("#")
    number = re.sub("L$", "", day)
    name = DAYS_OF_WEEK[int(number) % 7] if number.isdecimal() else number
    return f"the {ORDINALS[int(which) - 1] if which else 'last'} {name.title()}"
