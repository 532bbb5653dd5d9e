"""Read recurrence rules of RFC 5545 as clients write them: DTSTART, and the parts of RRULE.

A rule is about local times; DTSTART, `timezone` or UTC says in which zone.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime, time, timedelta
from functools import lru_cache
from itertools import chain, pairwise
from typing import NamedTuple
from zoneinfo import ZoneInfo

from tasks_api.domain.cron_text import known_zone
from tasks_api.domain.exceptions import ScheduleError

MAX_TEXT_LENGTH = 1000
# The frequencies of a rule, and the seconds of their periods, at least.
PERIODS = {
    "YEARLY": 365 * 86_400,
    "MONTHLY": 28 * 86_400,
    "WEEKLY": 7 * 86_400,
    "DAILY": 86_400,
    "HOURLY": 3600,
    "MINUTELY": 60,
    "SECONDLY": 1,
}
WITHIN_A_DAY = frozenset({"HOURLY", "MINUTELY", "SECONDLY"})
WEEKDAYS = ("MO", "TU", "WE", "TH", "FR", "SA", "SU")
# Two repetitions are at most so far apart.
MAX_SECONDS = 100 * 366 * 86_400
MAX_COUNT = 10_000
# More times of a day than this are a rule of another frequency.
MAX_TIMES_OF_DAY = 1440
MAX_TIMES_OF_PERIOD = 50_000
_DAYS_OF_PERIOD = {"YEARLY": 366, "MONTHLY": 31, "WEEKLY": 7}
_WEEKDAY = re.compile(r"([+-]?[0-9]{1,2})?(MO|TU|WE|TH|FR|SA|SU)", re.ASCII)
_NUMBER = re.compile(r"[+-]?[0-9]{1,10}", re.ASCII)
_LOCAL = re.compile(r"([0-9]{8})(?:T([0-9]{6}))?(Z)?", re.ASCII)
# The parts that are lists of numbers: the greatest, and whether they may count from the end.
_LISTS = {
    "BYMONTH": (range(1, 13), False),
    "BYMONTHDAY": (range(1, 32), True),
    "BYYEARDAY": (range(1, 367), True),
    "BYWEEKNO": (range(1, 54), True),
    "BYHOUR": (range(24), False),
    "BYMINUTE": (range(60), False),
    "BYSECOND": (range(60), False),
    "BYSETPOS": (range(1, 367), True),
}
# The frequencies that a part does not go with, as RFC 5545 says.
_MISFITS = {
    "BYWEEKNO": PERIODS.keys() - {"YEARLY"},
    "BYYEARDAY": {"MONTHLY", "WEEKLY", "DAILY"},
    "BYMONTHDAY": {"WEEKLY"},
}
_KNOWN = {"FREQ", "INTERVAL", "COUNT", "UNTIL", "WKST", "BYDAY", *_LISTS}
_OTHER_LINES = {
    "EXDATE": "it cannot leave dates out",
    "RDATE": "give single moments as schedules of their own",
    "EXRULE": "it cannot leave dates out",
}


class WeekdayRule(NamedTuple):
    """A weekday from 0, Monday; and which one of its period, or 0 for each."""

    day: int
    place: int


@dataclass(frozen=True)
class RuleParts:
    """The parts of an RRULE."""

    freq: str
    interval: int = 1
    count: int | None = None
    # A local time, or an instant in UTC.
    until: datetime | None = None
    week_start: int = 0
    weekdays: tuple[WeekdayRule, ...] = ()
    months: tuple[int, ...] = ()
    month_days: tuple[int, ...] = ()
    year_days: tuple[int, ...] = ()
    weeks: tuple[int, ...] = ()
    hours: tuple[int, ...] = ()
    minutes: tuple[int, ...] = ()
    seconds: tuple[int, ...] = ()
    places: tuple[int, ...] = ()


class RuleText(NamedTuple):
    """A client's rule: the value of RRULE, and DTSTART with its zone if it has them."""

    rule: str
    first: datetime | None
    zone: str | None


def read(text: str) -> RuleText:
    """Read an RRULE with or without its name, and perhaps a DTSTART before or after it.

    Raises ScheduleError with a sentence.
    """
    if len(text) > MAX_TEXT_LENGTH:
        raise ScheduleError(f"The rule has more than {MAX_TEXT_LENGTH} characters.")
    rule, first, zone = "", None, None
    for name, options, value in _lines(text):
        if name == "RRULE" and not rule:
            rule = ";".join(part for part in value.upper().split(";") if part)
        elif name == "DTSTART" and first is None:
            first, zone = _start(options, value)
        elif name in ("RRULE", "DTSTART"):
            raise ScheduleError(f"It has more than one {name}; use schedules for more.")
        else:
            why = _OTHER_LINES.get(name, "it has lines RRULE and DTSTART")
            raise ScheduleError(f"It has a line {name[:20]!r}, but {why}.")
    if not rule:
        raise ScheduleError("It has no RRULE.")
    parse(rule)
    return RuleText(rule, first, zone)


def _lines(text: str) -> Iterator[tuple[str, list[str], str]]:
    """Yield name, parameters and value of each line."""
    unfolded = re.sub(r"\r?\n[ \t]", "", text.strip())
    for line in filter(None, map(str.strip, unfolded.splitlines())):
        head, colon, value = line.partition(":")
        if colon:
            name, *options = head.split(";")
            yield name.upper(), options, value.strip()
        else:
            yield "RRULE", [], line


def _start(options: list[str], value: str) -> tuple[datetime, str | None]:
    zone = None
    for option in options:
        name, _, said = option.partition("=")
        if name.upper() == "TZID":
            zone = known_zone(said.strip('"'))
        elif option.upper() not in ("VALUE=DATE-TIME", "VALUE=DATE"):
            raise ScheduleError(f"DTSTART has an unknown {option[:40]!r}.")
    first = _moment("DTSTART", value, time())
    if first.tzinfo is None:
        return first, zone
    if zone not in (None, "UTC"):
        raise ScheduleError("DTSTART ends with Z, so its TZID can only be UTC.")
    return first.replace(tzinfo=None), "UTC"


def _moment(name: str, text: str, time_of_day: time) -> datetime:
    """Return a local time, or with Z an instant; a day alone has this time of day."""
    match = _LOCAL.fullmatch(text.upper())
    try:
        assert match is not None
        day = datetime.strptime(match[1], "%Y%m%d")  # noqa: DTZ007 (no zone on purpose)
        if match[2] is not None:
            time_of_day = datetime.strptime(match[2], "%H%M%S").time()  # noqa: DTZ007 (no zone on purpose)
    except (AssertionError, ValueError):
        raise ScheduleError(
            f"{name} should be a moment such as 20261201T090000."
        ) from None
    return datetime.combine(day, time_of_day, UTC if match[3] else None)


@lru_cache(maxsize=5_000)
def parse(rule: str) -> RuleParts:
    """Return the parts of the value of an RRULE. Raises ScheduleError with a sentence."""
    given: dict[str, str] = {}
    for part in rule.split(";"):
        name, equals, value = part.partition("=")
        if name not in _KNOWN or not equals:
            raise ScheduleError(f"It has an unknown part {part[:40]!r}.")
        if name in given:
            raise ScheduleError(f"It has {name} twice.")
        given[name] = value
    freq = given.get("FREQ", "")
    if freq not in PERIODS:
        raise ScheduleError(f"FREQ should be one of {', '.join(PERIODS)}.")
    parts = RuleParts(
        freq,
        interval=_number(given, "INTERVAL", MAX_SECONDS // PERIODS[freq]) or 1,
        count=_number(given, "COUNT", MAX_COUNT),
        until=_moment("UNTIL", given["UNTIL"], time(23, 59, 59))
        if "UNTIL" in given
        else None,
        week_start=_week_start(given.get("WKST", "MO")),
        weekdays=tuple(_weekdays(given.get("BYDAY"))),
        months=_numbers(given, "BYMONTH"),
        month_days=_numbers(given, "BYMONTHDAY"),
        year_days=_numbers(given, "BYYEARDAY"),
        weeks=_numbers(given, "BYWEEKNO"),
        hours=_numbers(given, "BYHOUR"),
        minutes=_numbers(given, "BYMINUTE"),
        seconds=_numbers(given, "BYSECOND"),
        places=_numbers(given, "BYSETPOS"),
    )
    _refuse_misfits(parts, given)
    return parts


def _number(given: Mapping[str, str], name: str, maximum: int) -> int | None:
    if name not in given:
        return None
    text = given[name]
    if _NUMBER.fullmatch(text) and 1 <= int(text) <= maximum:
        return int(text)
    raise ScheduleError(f"{name} should be a whole number from 1 to {maximum}.")


def _numbers(given: Mapping[str, str], name: str) -> tuple[int, ...]:
    if name not in given:
        return ()
    allowed, from_end = _LISTS[name]
    items = given[name].split(",")
    values = [int(item) for item in items if _NUMBER.fullmatch(item)]
    fits = all(abs(each) in allowed and (from_end or each >= 0) for each in values)
    if len(values) == len(items) and fits:
        return tuple(sorted(set(values)))
    more = f", or from -{allowed[-1]} to -{allowed[0]}" if from_end else ""
    raise ScheduleError(
        f"{name} should be whole numbers from {allowed[0]} to {allowed[-1]}{more}."
    )


def _week_start(text: str) -> int:
    if text in WEEKDAYS:
        return WEEKDAYS.index(text)
    raise ScheduleError(f"WKST should be one of {', '.join(WEEKDAYS)}.")


def _weekdays(text: str | None) -> Iterator[WeekdayRule]:
    for item in text.split(",") if text is not None else ():
        match = _WEEKDAY.fullmatch(item)
        place = int(match[1] or 0) if match else 0
        if match is None or (match[1] and not 1 <= abs(place) <= 53):
            raise ScheduleError("BYDAY should be weekdays such as MO, 1FR or -1SU.")
        yield WeekdayRule(WEEKDAYS.index(match[2]), place)


def _refuse_misfits(parts: RuleParts, given: Mapping[str, str]) -> None:
    freq = parts.freq
    for name, frequencies in _MISFITS.items():
        if name in given and freq in frequencies:
            raise ScheduleError(f"{name} does not go with FREQ={freq}.")
    if {"COUNT", "UNTIL"} <= given.keys():
        raise ScheduleError("It has either COUNT or UNTIL.")
    if parts.places and not given.keys() & (_LISTS.keys() | {"BYDAY"}) - {"BYSETPOS"}:
        raise ScheduleError("BYSETPOS goes with another part that begins with BY.")
    places = {bool(each.place) for each in parts.weekdays}
    if True in places and (freq not in ("MONTHLY", "YEARLY") or parts.weeks):
        raise ScheduleError(
            "BYDAY has numbers only with FREQ=MONTHLY or YEARLY, and without BYWEEKNO."
        )
    if len(places) == 2:
        raise ScheduleError(
            "BYDAY has weekdays either all with a number or all without one."
        )
    times = times_of_day(parts)
    if times > MAX_TIMES_OF_DAY or times * _DAYS_OF_PERIOD.get(freq, 1) > (
        MAX_TIMES_OF_PERIOD
    ):
        raise ScheduleError(
            f"It has too many times for FREQ={freq}; give it a shorter frequency."
        )


def times_of_day(parts: RuleParts) -> int:
    """Return how many times the parts give each day, or each shorter period."""
    lists = {
        "HOURLY": (parts.minutes, parts.seconds),
        "MINUTELY": (parts.seconds,),
        "SECONDLY": (),
    }.get(parts.freq, (parts.hours, parts.minutes, parts.seconds))
    count = 1
    for values in lists:
        count *= len(values) or 1
    return count


def write(rule: str, first: datetime, zone: str) -> str:
    """Return the two lines of a rule."""
    moment = first.strftime("%Y%m%dT%H%M%S")
    start = f":{moment}Z" if zone == "UTC" else f";TZID={zone}:{moment}"
    return f"DTSTART{start}\nRRULE:{rule}"


def local_until(parts: RuleParts, zone: str) -> datetime | None:
    """Return UNTIL as a local time in the zone."""
    until = parts.until
    if until is None or until.tzinfo is None:
        return until
    return until.astimezone(ZoneInfo(zone)).replace(tzinfo=None)


def least_interval(parts: RuleParts, first: datetime) -> float:
    """Return a bound for the seconds between two local times: they are never closer."""
    freq, interval = parts.freq, parts.interval
    # The times of a day that the parts allow, whatever the frequency.
    allowed = _least_gap(
        parts.hours or _usual(freq, "HOURLY", first.hour, 24),
        parts.minutes or _usual(freq, "MINUTELY", first.minute, 60),
        parts.seconds or _usual(freq, "SECONDLY", first.second, 60),
    )
    if freq not in WITHIN_A_DAY:
        return allowed
    if freq == "SECONDLY":
        return max(allowed, interval)
    # The times in each period, and from the last one to the first of the next period.
    offsets = sorted(
        minute * 60 + second
        for minute in (parts.minutes or (first.minute,) if freq == "HOURLY" else (0,))
        for second in parts.seconds or (first.second,)
    )
    following = chain(offsets[1:], [offsets[0] + interval * PERIODS[freq]])
    return max(allowed, min(b - a for a, b in zip(offsets, following, strict=True)))


def _usual(freq: str, own: str, value: int, size: int) -> tuple[int, ...]:
    """Return the values of a unit that a rule does not name: DTSTART's, or all."""
    is_free = PERIODS[freq] <= PERIODS[own]
    return tuple(range(size)) if is_free else (value,)


def _least_gap(
    hours: tuple[int, ...], minutes: tuple[int, ...], seconds: tuple[int, ...]
) -> float:
    units = ((1, seconds), (60, minutes), (3600, hours))
    first = last = 0
    least = 86_400
    for size, values in units:
        between = [(b - a) * size - (last - first) for a, b in pairwise(values)]
        least = min([least, *between])
        first, last = values[0] * size + first, values[-1] * size + last
    return min(least, 86_400 - (last - first))


def week_of(moment: datetime, week_start: int) -> datetime:
    """Return the beginning of the week of a local time."""
    days = (moment.weekday() - week_start) % 7
    return datetime.combine(moment.date() - timedelta(days=days), time())
