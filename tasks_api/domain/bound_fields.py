"""Read the bounds of a token as the API, the pages and the command line give them."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from decimal import Decimal
from difflib import get_close_matches
from typing import Any, NoReturn

from tasks_api.domain.bounds import AMOUNTS, LISTS, Bounds, read_host
from tasks_api.domain.exceptions import InvalidTask
from tasks_api.domain.guard import RefusedTarget

NAMES = (*LISTS, "tags", *AMOUNTS)
METHODS = ("GET", "POST", "PUT", "PATCH", "DELETE", "HEAD", "OPTIONS")
MAX_ENTRIES = 100
MAX_PATH_LENGTH = 1000
MAX_TAG_LENGTH = 100
# A start is a row until a day later.
MAX_RUNS_PER_DAY = 100_000
# The maximum of a PostgreSQL integer.
MAX_INTEGER = 2**31 - 1
MAX_NAME_SHOWN = 100


def read_bounds(value: object) -> Bounds:
    """Return the bounds of an object with at least one; null is no bound.

    Raises InvalidTask, whose field is one such as `bounds.hosts`.
    """
    if not isinstance(value, Mapping) or not value:
        _refuse("bounds", "Value should be an object with a bound")
    for name in value:
        if name not in NAMES:
            raise _unknown(str(name))
    given = {name: each for name, each in value.items() if each is not None}
    found: dict[str, Any] = {
        name: _read_amount(f"bounds.{name}", given[name])
        for name in AMOUNTS
        if name in given
    }
    for name, reader in _READERS.items():
        if name in given:
            found[name] = _read_list(f"bounds.{name}", given[name], reader)
    if found.get("runs_per_day", 0) > MAX_RUNS_PER_DAY:
        _refuse("bounds.runs_per_day", f"Value should be at most {MAX_RUNS_PER_DAY}")
    return Bounds(**found)


def _refuse(field: str, why: str) -> NoReturn:
    raise InvalidTask(field, f"Invalid value of {field}. {why}")


def _unknown(name: str) -> InvalidTask:
    shown = f"bounds.{name[:MAX_NAME_SHOWN]}"
    near = get_close_matches(name[:MAX_NAME_SHOWN].lower(), NAMES, n=1)
    hint = f". Did you mean bounds.{near[0]}?" if near else ""
    return InvalidTask(shown, f"Unknown field: {shown}{hint}")


def _read_amount(field: str, value: object) -> int:
    match value:
        case bool():
            pass
        # The range comes first: converting a number of many digits is expensive.
        case int() | Decimal() if 1 <= value <= MAX_INTEGER and value == int(value):
            return int(value)
    _refuse(field, f"Value should be a whole number from 1 to {MAX_INTEGER}")


def _read_list(
    field: str, value: object, reader: Callable[[str], str]
) -> tuple[str, ...]:
    problem = f"Value should be a list of at most {MAX_ENTRIES} strings"
    if isinstance(value, list) and len(value) <= MAX_ENTRIES:
        try:
            return tuple(dict.fromkeys(reader(_text(each)) for each in value))
        except ValueError as error:
            problem = str(error) or problem
    _refuse(field, problem)


def _text(value: object) -> str:
    if not isinstance(value, str):
        raise ValueError("")
    return value


def _read_host(text: str) -> str:
    try:
        return read_host(text)
    except RefusedTarget as refusal:
        raise ValueError(str(refusal)) from None


def _read_path(text: str) -> str:
    if text.startswith("/") and len(text) <= MAX_PATH_LENGTH and _is_plain(text):
        return text
    raise ValueError("A path begins with / and has no query, space or dot segment")


def _is_plain(text: str) -> bool:
    is_visible = text.isascii() and text.isprintable() and not set(text) & set(" ?#\\")
    return is_visible and not {".", ".."} & set(text.split("/"))


def _read_method(text: str) -> str:
    if (method := text.strip().upper()) in METHODS:
        return method
    raise ValueError(f"A method is one of {', '.join(METHODS)}")


def _read_tag(text: str) -> str:
    if 0 < len(text) <= MAX_TAG_LENGTH:
        return text
    raise ValueError(f"A tag has 1 to {MAX_TAG_LENGTH} characters")


_READERS: Mapping[str, Callable[[str], str]] = {
    "hosts": _read_host,
    "paths": _read_path,
    "methods": _read_method,
    "tags": _read_tag,
}
