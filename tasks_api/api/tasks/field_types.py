"""The types of optional fields of a task: schema, reader and rendering."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import KW_ONLY, dataclass
from datetime import datetime
from enum import StrEnum
from typing import Any

from tasks_api.api import fields, openapi
from tasks_api.domain.exceptions import InvalidTask
from tasks_api.domain.specs import RequestOptions, TaskSpec
from tasks_api.models import Task

Fields = Mapping[str, Any]
Reader = Callable[[Fields, TaskSpec, datetime], Mapping[str, Any]]
Display = Callable[[Task, RequestOptions], Any]


@dataclass(frozen=True)
class OptionalField:
    """One optional field, which OPTIONAL_FIELDS makes part of every request and response.

    `read` gets all given fields and returns attributes of a TaskSpec, or of its
    RequestOptions. `show` returns the value as a request body would give it. Responses
    omit null and the default.
    """

    name: str
    schema: dict[str, Any]
    read: Reader
    show: Display
    _: KW_ONLY
    default: Any = None
    # A task with a queue sends no request, and a one-time task has no other fire time.
    needs_url: bool = False
    needs_periodic: bool = False
    # A request without the field is read as well.
    reads_absence: bool = False
    # The schema of responses, if they show the field in another form.
    response_schema: dict[str, Any] | None = None
    # Whether a request may give the field as null, which means the same as absence.
    is_nullable: bool = True

    @property
    def request_schema(self) -> dict[str, Any]:
        schema = dict(self.schema)
        if "properties" in schema and "required" not in schema:
            schema["properties"] = openapi.optional(schema["properties"])
        if not self.is_nullable:
            return schema
        nullable: dict[str, Any] = openapi.optional({self.name: schema})[self.name]
        return nullable


def integer_field(
    name: str, description: str, minimum: int, maximum: int, **options: Any
) -> OptionalField:
    """A whole number in a range, which a column of the same name stores."""

    def read(given: Fields, spec: TaskSpec, now: datetime) -> Fields:
        return {name: fields.number(given, name, minimum, maximum)}

    schema = {
        "type": "integer",
        "minimum": minimum,
        "maximum": maximum,
        "description": description,
    }
    return OptionalField(name, schema, read, column(name), **options)


def flag_field(name: str, description: str, **options: Any) -> OptionalField:
    """True or false, which a column of the same name stores; false by default."""

    def read(given: Fields, spec: TaskSpec, now: datetime) -> Fields:
        return {name: bool(fields.boolean(given, name))}

    schema = {"type": "boolean", "description": description}
    return OptionalField(name, schema, read, column(name), default=False, **options)


def enum_field(
    name: str, description: str, default: StrEnum, **options: Any
) -> OptionalField:
    """A member of the enumeration that the default belongs to."""
    members = type(default)

    def read(given: Fields, spec: TaskSpec, now: datetime) -> Fields:
        return {name: enum_member(given, name, default)}

    schema = openapi.text(description, enum=[member.value for member in members])
    return OptionalField(name, schema, read, column(name), default=default, **options)


def enum_member(given: Fields, name: str, default: StrEnum) -> StrEnum:
    members = type(default)
    try:
        return members(given.get(name, default))
    except ValueError:
        raise InvalidTask(
            name,
            f"Invalid value of {name}. Value should be {fields.join_choices(members)}",
        ) from None


def column(name: str) -> Display:
    """Show a task's column as it is stored."""
    return lambda task, options: getattr(task, name)
