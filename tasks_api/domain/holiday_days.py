"""The public holidays of countries, as days with their names."""

from __future__ import annotations

import re
import warnings
from functools import lru_cache

import holidays
from holidays.registry import COUNTRIES

from tasks_api.domain.exceptions import InvalidTask

# The years that a version of a calendar knows: the last one, and so many from it on.
YEARS = 50


def holidays_of(country: str, subdivision: str, year: int) -> dict[str, str]:
    """Return the holidays from the year before this one on, by their ISO dates.

    The library knows some countries for few years. Raises InvalidTask if it does not know
    the country or its subdivision.
    """
    if country not in supported_countries():
        raise InvalidTask(
            "holidays.country",
            "Invalid value of holidays.country. Value should be a country's code of ISO "
            "3166, such as DE",
        )
    known = holidays.country_holidays(country)
    if subdivision and subdivision not in known.subdivisions:
        listed = ", ".join(known.subdivisions) or "none"
        raise InvalidTask(
            "holidays.subdivision",
            f"Invalid value of holidays.subdivision. {country} has {listed}",
        )
    first, last = max(year - 1, known.start_year), min(year + YEARS, known.end_year)
    if first > last:
        return {}
    with warnings.catch_warnings():
        # Of some countries, it does not know the moving holidays of all years.
        warnings.simplefilter("ignore")
        found = holidays.country_holidays(
            country,
            subdiv=subdivision or None,
            years=range(first, last + 1),
            # A look at a day does not add the holidays of its year.
            expand=False,
        )
    return {day.isoformat(): name for day, name in sorted(found.items())}


@lru_cache(maxsize=1)
def supported_countries() -> frozenset[str]:
    """Return the codes of the countries whose holidays the library knows."""
    codes: dict[str, list[str]] = holidays.list_supported_countries()
    return frozenset(codes)


@lru_cache(maxsize=1)
def country_names() -> dict[str, str]:
    """Return the countries whose holidays the library knows: their names by their codes."""
    names = {
        code: re.sub(r"(?<=[a-z])(?=[A-Z])", " ", name)
        for name, code, *_ in COUNTRIES.values()
    }
    known = {code: names.get(code, code) for code in supported_countries()}
    return dict(sorted(known.items(), key=lambda each: each[1]))
