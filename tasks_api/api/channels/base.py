"""The base of the views of channels and rules: administrators write, all users read."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, TypeVar
from uuid import UUID

from rest_framework.exceptions import PermissionDenied
from rest_framework.request import Request

from accounts.models import Scope
from tasks_api.api import fields
from tasks_api.api.errors import FormatView
from tasks_api.domain.exceptions import InvalidTask, SchedulerError

Value = TypeVar("Value")


# The scopes of a list and of one of its items.
LIST_SCOPES = {"POST": Scope.ADMIN}
DETAIL_SCOPES = {"PATCH": Scope.ADMIN, "DELETE": Scope.ADMIN}


class ChannelsView(FormatView):
    """A view whose methods of scope admin also take the role."""

    def initial(self, request: Request, *args: Any, **kwargs: Any) -> None:
        super().initial(request, *args, **kwargs)
        if request.method in self.scopes and not self.user.reaches_tenant:
            raise PermissionDenied("This is for the administrators of a tenant")


def parse_id(text: str, not_found: type[SchedulerError], message: str) -> UUID:
    """The id in a path; text that is none is the id of nothing."""
    try:
        return UUID(text)
    except ValueError:
        raise not_found(message) from None


def read_given(
    data: Mapping[str, Any], readers: Mapping[str, Callable[[Any], Value]]
) -> dict[str, Value]:
    """The fields that a body has, each read by its reader."""
    return {name: read(data[name]) for name, read in readers.items() if name in data}


def read_paused(value: object) -> bool:
    return fields.boolean({"paused": value}, "paused") or False


def read_text(name: str, value: object, *, longest: int) -> str:
    if isinstance(value, str) and 0 < len(value) <= longest and value.isprintable():
        return value
    raise InvalidTask(
        name,
        f"Invalid value of {name}. Value should be a string of 1 to {longest} printable "
        "characters",
    )
