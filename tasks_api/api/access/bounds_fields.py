"""The field `bounds` of a token, and what is known of it in the OpenAPI document."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from tasks_api.api import fields, known_fields
from tasks_api.api.openapi import count, optional, text
from tasks_api.domain.bounds import AMOUNTS, Bounds, read_host
from tasks_api.domain.exceptions import InvalidTask
from tasks_api.domain.guard import RefusedTarget

METHODS = ("GET", "POST", "PUT", "PATCH", "DELETE", "HEAD", "OPTIONS")
MAX_ENTRIES = 100
MAX_PATH_LENGTH = 1000
MAX_TAG_LENGTH = 100
# A start is a row until a day later.
MAX_RUNS_PER_DAY = 100_000


def _list(description: str) -> dict[str, Any]:
    return {
        "type": "array",
        "items": {"type": "string"},
        "maxItems": MAX_ENTRIES,
        "description": description,
    }


def _amount(description: str, **more: Any) -> dict[str, Any]:
    return count(description, minimum=1, **more)


PROPERTIES = {
    "hosts": _list(
        "The hosts that may be called, with a port unless it is 80 for http or 443 for "
        "https."
    ),
    "paths": _list(
        "The paths that may be called, with all below each. A path with a dot segment "
        "is below none."
    ),
    "methods": _list("The methods that requests may have."),
    "tags": _list("The tags that each task gets, beside its own."),
    "runs_per_day": _amount(
        "The requests that start in any 24 hours, attempts and manual runs included. "
        "What is beyond waits.",
        maximum=MAX_RUNS_PER_DAY,
    ),
    "horizon": _amount(
        "The seconds from a write within which all fire times of the task lie."
    ),
    "renew_within": _amount(
        "The seconds after which all tasks that were made with the token end, unless "
        "somebody renews it before."
    ),
    "tasks": _amount("The living tasks at a time."),
    "requests_per_minute": _amount("The requests to this API in a minute."),
    "payload_bytes": _amount("The bytes of a task's body."),
}
BOUNDS = {
    "type": "object",
    "additionalProperties": False,
    "properties": optional(PROPERTIES),
    "description": "What the token can do at most, and the tasks that it makes. Without "
    "this field it has the bounds of the calling token, if that has some.",
}
RENEW_BY = text(
    "When the tasks that were made with the token end, unless it is renewed before.",
    format="date-time",
)
EXAMPLE = {
    "hosts": ["api.example.com"],
    "paths": ["/hooks/"],
    "methods": ["POST"],
    "runs_per_day": 100,
    "renew_within": 604800,
}
_KNOWN = known_fields.fields_of_schema(BOUNDS)


def read_bounds(data: Mapping[str, Any]) -> Bounds | None:
    """The bounds of a new token; None: it asks for none. Raises InvalidTask."""
    value = data.get("bounds")
    if value is None:
        return None
    if not isinstance(value, Mapping) or not value:
        raise InvalidTask(
            "bounds", "Invalid value of bounds. Value should be an object with a bound"
        )
    known_fields.require_known_fields(value, _KNOWN)
    found: dict[str, Any] = {
        name: fields.whole_number(f"bounds.{name}", value[name], minimum=1)
        for name in AMOUNTS
        if fields.is_given(value, name)
    }
    for name, reader in _READERS.items():
        if fields.is_given(value, name):
            found[name] = _read_list(f"bounds.{name}", value[name], reader)
    _require_at_most(found.get("runs_per_day", 0))
    return Bounds(**found)


def _require_at_most(runs: int) -> None:
    if runs > MAX_RUNS_PER_DAY:
        raise InvalidTask(
            "bounds.runs_per_day",
            "Invalid value of bounds.runs_per_day. Value should be at most "
            f"{MAX_RUNS_PER_DAY}",
        )


def _read_list(
    name: str, value: object, reader: Callable[[str], str]
) -> tuple[str, ...]:
    problem = f"Value should be a list of at most {MAX_ENTRIES} strings"
    if isinstance(value, list) and len(value) <= MAX_ENTRIES:
        try:
            return tuple(dict.fromkeys(reader(_text(each)) for each in value))
        except ValueError as error:
            problem = str(error) or problem
    raise InvalidTask(name, f"Invalid value of {name}. {problem}")


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


_READERS = {
    "hosts": _read_host,
    "paths": _read_path,
    "methods": _read_method,
    "tags": _read_tag,
}
