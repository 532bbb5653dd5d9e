"""Find fields of a request that the OpenAPI description of its operation lacks."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from difflib import get_close_matches
from typing import Any, NamedTuple
from urllib.parse import parse_qsl, quote

from rest_framework.exceptions import APIException
from rest_framework.request import Request

from tasks_api.domain.exceptions import InvalidTask

IGNORED_HEADER = "X-Ignored-Fields"
# Characters of a field's name in a response, and of the header that lists several.
MAX_NAME_LENGTH = 100
MAX_HEADER_LENGTH = 1000
# Printable ASCII, but for what separates names, quotes them or escapes.
_SAFE = "!#$&'()*+-./:<=>?@[]^_`{|}~"
# Schemas mark with this the fields that the service accepts and ignores.
IGNORED_MARK = "x-ignored"
# Names of other schedulers for our fields, if the two do not look alike.
SYNONYMS = {
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


class KnownFields(NamedTuple):
    """The fields that a value may have.

    An object has `names`, each with the fields of its value; a list has `items`. A value
    with neither is not checked.
    """

    names: Mapping[str, KnownFields] | None = None
    items: KnownFields | None = None
    is_ignored: bool = False


NO_FIELDS = KnownFields(names={})


class UnknownField(NamedTuple):
    """An unknown field of the object at a place, and the fields that are known there."""

    place: str
    name: str
    known: Mapping[str, KnownFields]

    @property
    def path(self) -> str:
        return _join_path(self.place, _shorten(self.name))


class OperationFields(NamedTuple):
    """The fields that the description of an operation allows in a request.

    An `is_strict` operation refuses other fields; the others ignore them and list them in
    a header. Without `body` the operation reads none; an empty one allows any value.
    """

    query: KnownFields
    body: KnownFields | None
    is_strict: bool


# From OpenAPI descriptions.


def fields_of_schema(rule: Mapping[str, Any]) -> KnownFields:
    """The fields that a JSON schema allows."""
    if "oneOf" in rule:
        return _merge_choices([fields_of_schema(each) for each in rule["oneOf"]])
    names = None
    if "properties" in rule and not rule.get("additionalProperties"):
        properties = rule["properties"].items()
        names = {name: fields_of_schema(each) for name, each in properties}
    items = fields_of_schema(rule["items"]) if "items" in rule else None
    return KnownFields(names, items, is_ignored=bool(rule.get(IGNORED_MARK)))


def _merge_choices(choices: Sequence[KnownFields]) -> KnownFields:
    """The fields that any of the choices allows; if one allows all, so does the result."""
    is_ignored = all(each.is_ignored for each in choices)
    objects = [each.names for each in choices if each.names is not None]
    if len(objects) < len(choices):
        return KnownFields(is_ignored=is_ignored)
    names: dict[str, list[KnownFields]] = {}
    for each in objects:
        for name, rule in each.items():
            names.setdefault(name, []).append(rule)
    return KnownFields(
        {
            name: _merge_choices(rules) if len(rules) > 1 else rules[0]
            for name, rules in names.items()
        },
        is_ignored=is_ignored,
    )


# In requests.


def find_ignored_fields(
    operation: OperationFields, request: Request
) -> list[UnknownField]:
    """The unknown fields of a request. Raises InvalidTask if the operation is strict."""
    found = list(_find_unknown_fields(_parameters(request), operation.query))
    if (body := _body_to_check(operation, request)) is not None:
        known = operation.body or NO_FIELDS
        found += _find_unknown_fields(
            body, known, looks_into_lists=not operation.is_strict
        )
    if found and operation.is_strict:
        raise unknown_field_error(found[0])
    return found


def _parameters(request: Request) -> dict[str, str]:
    # Django would limit their number and could not tell which are unknown.
    raw = request.META.get("QUERY_STRING", "").encode("latin-1")
    return dict(parse_qsl(raw.decode("utf-8", "replace"), keep_blank_values=True))


def _body_to_check(operation: OperationFields, request: Request) -> Any:
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
        # The operation has no body, so nothing reads this one.
        return None


def require_known_fields(value: object, known: KnownFields) -> None:
    """Raise InvalidTask for the first unknown field of an object."""
    for found in _find_unknown_fields(value, known, looks_into_lists=False):
        raise unknown_field_error(found)


def _find_unknown_fields(
    value: object, known: KnownFields, place: str = "", *, looks_into_lists: bool = True
) -> Iterator[UnknownField]:
    if isinstance(value, Mapping) and known.names is not None:
        for name, each in value.items():
            if (rule := known.names.get(name)) is None:
                yield UnknownField(place, name, known.names)
            elif rule.names is not None or rule.items is not None:
                where = _join_path(place, name)
                yield from _find_unknown_fields(
                    each, rule, where, looks_into_lists=looks_into_lists
                )
    elif isinstance(value, list) and known.items is not None and looks_into_lists:
        for each in value:
            yield from _find_unknown_fields(each, known.items, f"{place}[]")


# In responses.


def unknown_field_error(found: UnknownField) -> InvalidTask:
    """`Unknown field: timezome. Did you mean timezone?`"""
    near = _suggest_name(found.name, found.known)
    hint = f". Did you mean {_join_path(found.place, near)}?" if near else ""
    return InvalidTask(found.path, f"Unknown field: {found.path}{hint}")


def _suggest_name(name: str, known: Mapping[str, KnownFields]) -> str | None:
    choices = [each for each, rule in known.items() if not rule.is_ignored]
    lowered = _shorten(name).lower()
    if (synonym := SYNONYMS.get(lowered)) in choices:
        return synonym
    extended = [each for each in choices if lowered and each.startswith(f"{lowered}_")]
    return next(iter(extended or get_close_matches(lowered, choices, n=1)), None)


def to_header(found: Iterable[UnknownField]) -> str:
    """The value of the header that lists ignored fields: sorted, unique, printable ASCII."""
    text = ""
    for path in sorted({quote(each.path, safe=_SAFE) for each in found}):
        extended = f"{text}, {path}" if text else path
        if len(extended) > MAX_HEADER_LENGTH:
            return f"{text}, ..."
        text = extended
    return text


def _shorten(name: str) -> str:
    return name if len(name) <= MAX_NAME_LENGTH else f"{name[:MAX_NAME_LENGTH]}…"


def _join_path(place: str, name: str) -> str:
    return f"{place}.{name}" if place else name
