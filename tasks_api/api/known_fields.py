"""Which fields a request may have: those that its OpenAPI description names, and no others."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from difflib import get_close_matches
from typing import Any, NamedTuple
from urllib.parse import parse_qsl, quote

from rest_framework.exceptions import APIException
from rest_framework.request import Request

from tasks_api.domain.exceptions import InvalidTask

IGNORED_HEADER = "X-Ignored-Fields"
# Of a field's name in an answer, and of the header that lists several.
LONGEST_NAME = 100
LONGEST_HEADER = 1000
# Printable ASCII, but for what separates names, quotes them or escapes.
_SAFE = "!#$&'()*+-./:<=>?@[]^_`{|}~"
# How a description marks what may be sent and says nothing.
MARK = "x-ignored"
# What other schedulers call it, where that does not look like our word.
ELSEWHERE = {
    "active": "paused",
    "at": "run_datetime",
    "callback": "url",
    "callback_url": "url",
    "cron_expr": "cron",
    "cron_expression": "cron",
    "crontab": "cron",
    "data": "post_data",
    "enabled": "paused",
    "endpoint": "url",
    "every": "frequency",
    "expression": "cron",
    "interval": "frequency",
    "json": "post_data",
    "labels": "tags",
    "max_retries": "retry",
    "payload": "post_data",
    "run_at": "run_datetime",
    "schedule": "cron",
    "schedule_expression": "cron",
    "scheduled_for": "run_datetime",
    "target": "url",
    "type": "task_type",
    "tz": "timezone",
    "uri": "url",
    "webhook": "url",
    "zone": "timezone",
}


class Known(NamedTuple):
    """What may stand in a value.

    Of an object, each name with what may stand there; of a list, what its items may be.
    With neither, it is not looked into.
    """

    names: Mapping[str, Known] | None = None
    items: Known | None = None
    is_ignored: bool = False


NOTHING = Known(names={})


class Unknown(NamedTuple):
    """A field that nobody asked for, in the object at a place, and what is known there."""

    place: str
    name: str
    known: Mapping[str, Known]

    @property
    def path(self) -> str:
        return _joined(self.place, _shortened(self.name))


class Operation(NamedTuple):
    """What the description of an operation lets a request have.

    One that `is_strict` refuses whatever else a request has; others ignore it, and say
    so. Without a body none is asked for; one that is not looked into may be anything.
    """

    query: Known
    body: Known | None
    is_strict: bool


# From descriptions.


def read_off(rule: Mapping[str, Any]) -> Known:
    """What a JSON schema lets stand in a value."""
    if "oneOf" in rule:
        return _any_of([read_off(each) for each in rule["oneOf"]])
    names = None
    if "properties" in rule and not rule.get("additionalProperties"):
        properties = rule["properties"].items()
        names = {name: read_off(each) for name, each in properties}
    items = read_off(rule["items"]) if "items" in rule else None
    return Known(names, items, is_ignored=bool(rule.get(MARK)))


def _any_of(choices: Sequence[Known]) -> Known:
    """What one of them does not look into, none does."""
    is_ignored = all(each.is_ignored for each in choices)
    objects = [each.names for each in choices if each.names is not None]
    if len(objects) < len(choices):
        return Known(is_ignored=is_ignored)
    names: dict[str, list[Known]] = {}
    for each in objects:
        for name, rule in each.items():
            names.setdefault(name, []).append(rule)
    return Known(
        {
            name: _any_of(rules) if len(rules) > 1 else rules[0]
            for name, rules in names.items()
        },
        is_ignored=is_ignored,
    )


# In requests.


def look(operation: Operation, request: Request) -> list[Unknown]:
    """The fields of a request that are ignored. Raises InvalidTask for one that may not be."""
    found = list(_unknown(_parameters(request), operation.query))
    if (body := _body_to_check(operation, request)) is not None:
        known = operation.body or NOTHING
        found += _unknown(body, known, looks_into_lists=not operation.is_strict)
    if found and operation.is_strict:
        raise refusal(found[0])
    return found


def _parameters(request: Request) -> dict[str, str]:
    # Not as Django reads them, who has a limit and no way to say that nobody asked.
    raw = request.META.get("QUERY_STRING", "").encode("latin-1")
    return dict(parse_qsl(raw.decode("utf-8", "replace"), keep_blank_values=True))


def _body_to_check(operation: Operation, request: Request) -> Any:
    body = operation.body
    if body is not None:
        is_any = body.names is None and body.items is None
        return None if is_any else request.data
    if not operation.is_strict or request.stream is None:
        return None
    if request.method not in ("POST", "PUT", "PATCH"):
        return None
    try:
        return request.data
    except APIException:
        # Whatever it is, nobody asked for it, and nobody reads it.
        return None


def require(value: object, known: Known) -> None:
    """Raise InvalidTask for the first field of an object that is not known."""
    for found in _unknown(value, known, looks_into_lists=False):
        raise refusal(found)


def _unknown(
    value: object, known: Known, place: str = "", *, looks_into_lists: bool = True
) -> Iterator[Unknown]:
    if isinstance(value, Mapping) and known.names is not None:
        for name, each in value.items():
            if (rule := known.names.get(name)) is None:
                yield Unknown(place, name, known.names)
            elif rule.names is not None or rule.items is not None:
                where = _joined(place, name)
                yield from _unknown(
                    each, rule, where, looks_into_lists=looks_into_lists
                )
    elif isinstance(value, list) and known.items is not None and looks_into_lists:
        for each in value:
            yield from _unknown(each, known.items, f"{place}[]")


# In answers.


def refusal(found: Unknown) -> InvalidTask:
    """`Unknown field: timezome. Did you mean timezone?`"""
    near = _nearest(found.name, found.known)
    hint = f". Did you mean {_joined(found.place, near)}?" if near else ""
    return InvalidTask(found.path, f"Unknown field: {found.path}{hint}")


def _nearest(name: str, known: Mapping[str, Known]) -> str | None:
    choices = [each for each, rule in known.items() if not rule.is_ignored]
    wanted = _shortened(name).lower()
    if (word := ELSEWHERE.get(wanted)) in choices:
        return word
    longer = [each for each in choices if wanted and each.startswith(f"{wanted}_")]
    return next(iter(longer or get_close_matches(wanted, choices, n=1)), None)


def listed(found: Iterable[Unknown]) -> str:
    """The header that names what was ignored: sorted, each once, in printable ASCII."""
    text = ""
    for path in sorted({quote(each.path, safe=_SAFE) for each in found}):
        longer = f"{text}, {path}" if text else path
        if len(longer) > LONGEST_HEADER:
            return f"{text}, ..."
        text = longer
    return text


def _shortened(name: str) -> str:
    return name if len(name) <= LONGEST_NAME else f"{name[:LONGEST_NAME]}…"


def _joined(place: str, name: str) -> str:
    return f"{place}.{name}" if place else name
