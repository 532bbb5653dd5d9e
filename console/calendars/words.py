"""What a calendar contains, and what a version changed in it, in words."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

from django.template.defaultfilters import pluralize

from tasks_api.domain.day_sets import WEEKDAYS, is_span
from tasks_api.domain.holiday_days import country_names

WEEKDAY_NAMES = dict(
    zip(
        WEEKDAYS,
        ("Monday", "Tuesday", "Wednesday", "Thursday", "Friday", "Saturday", "Sunday"),
        strict=True,
    )
)
# A longer list of days is counted.
MAX_NAMED = 3


def content_words(content: Mapping[str, Any]) -> list[str]:
    """Say what a version has, in a phrase for each kind of days."""
    return list(_phrases(content))


def _phrases(content: Mapping[str, Any]) -> Iterator[str]:
    if rule := content["holidays"]:
        yield f"public holidays of {country_words(rule)}"
    if weekdays := content["weekdays"]:
        yield " and ".join(f"every {WEEKDAY_NAMES[day]}" for day in weekdays)
    spans = [each for each in content["ranges"] if is_span(each)]
    counts = (
        (len(content["dates"]), "single day"),
        (len(content["ranges"]) - len(spans), "range"),
        (len(spans), "span"),
    )
    more = {"range": " of days", "span": " of time"}
    for count, noun in counts:
        if count:
            yield f"{count} {noun}{pluralize(count)}{more.get(noun, '')}"


def country_words(rule: Mapping[str, str]) -> str:
    """Return a country with its part, such as `Germany (BY)`."""
    name = country_names().get(rule["country"], rule["country"])
    part = rule.get("subdivision")
    return f"{name} ({part})" if part else name


def range_words(each: Mapping[str, str]) -> str:
    return f"{each['from']} to {each['to']}"


def change_words(before: Any, after: Any) -> list[str]:
    """Say what a version changed; `before` is None for the first one."""
    if before is None:
        return ["made the calendar", *content_words(after.content)]
    return list(_changes(before, after)) or ["the newest public holidays"]


def _changes(before: Any, after: Any) -> Iterator[str]:
    if before.zone != after.zone:
        yield f"zone {before.zone} became {after.zone}"
    for noun, days_of in _KINDS.items():
        was, will_be = days_of(before.content), days_of(after.content)
        yield from _difference("added", noun, was, will_be)
        yield from _difference("removed", noun, will_be, was)


def _weekdays(content: Mapping[str, Any]) -> list[str]:
    return [WEEKDAY_NAMES[day] for day in content["weekdays"]]


def _countries(content: Mapping[str, Any]) -> list[str]:
    return [country_words(content["holidays"])] if content["holidays"] else []


_KINDS: Mapping[str, Callable[[Mapping[str, Any]], list[str]]] = {
    "day": lambda content: list(content["dates"]),
    "range": lambda content: [range_words(each) for each in content["ranges"]],
    "weekday": _weekdays,
    "holidays of": _countries,
}


def _difference(
    verb: str, noun: str, without: Sequence[str], having: Sequence[str]
) -> Iterator[str]:
    known = set(without)
    found = [each for each in having if each not in known]
    if 0 < len(found) <= MAX_NAMED:
        yield f"{verb} {noun} {', '.join(found)}"
    elif found:
        yield f"{verb} {len(found)} {noun}s"
