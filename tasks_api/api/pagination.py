"""Pages of lists: their size, their rows, and the link to the next one."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple, TypeVar
from uuid import UUID

from django.db.models import Model, QuerySet
from rest_framework.request import Request
from rest_framework.response import Response
from rest_framework.utils.urls import replace_query_param

from tasks_api.api import fields
from tasks_api.domain.exceptions import InvalidTask

DEFAULT_PAGE_SIZE, MAX_PAGE_SIZE = 100, 1000

Row = TypeVar("Row", bound=Model)


def page_size(query: Mapping[str, str], *, default: int, maximum: int) -> int:
    """The `limit` of a query string. Raises InvalidTask unless it is a positive number."""
    return min(
        fields.whole_number_parameter(query, "limit", default, minimum=1), maximum
    )


def next_page_link(request: Request, **parameters: object) -> dict[str, str]:
    """The header that links to the next page (RFC 8288), which has these parameters."""
    url = request.build_absolute_uri()
    for name, value in parameters.items():
        url = replace_query_param(url, name, value)
    return {"Link": f'<{url}>; rel="next"'}


class Page(NamedTuple):
    """Rows of a list, with the cursor and the link of the next page if there is one."""

    rows: Sequence[Any]
    cursor: str | None = None
    link: Mapping[str, str] | None = None

    def response(
        self, name: str, render: Callable[[Any], Mapping[str, Any]]
    ) -> Response:
        body = {name: [render(row) for row in self.rows], "next_cursor": self.cursor}
        return Response(body, headers=self.link)


def page_of(
    request: Request,
    rows: QuerySet[Row],
    *,
    key: str,
    read_cursor: Callable[[str], Any],
) -> Page:
    """The newest rows, or those after `cursor`, found by their key without counting."""
    query = fields.query_parameters(request)
    limit = page_size(query, default=DEFAULT_PAGE_SIZE, maximum=MAX_PAGE_SIZE)
    if "cursor" in query:
        rows = rows.filter(**{f"{key}__lt": read_cursor(query["cursor"])})
    found = list(rows.order_by(f"-{key}")[: limit + 1])
    if len(found) <= limit:
        return Page(found)
    cursor = str(found[limit - 1].pk)
    return Page(found[:limit], cursor, next_page_link(request, cursor=cursor))


def read_uuid(cursor: str) -> UUID:
    try:
        return UUID(cursor)
    except ValueError:
        raise invalid_cursor() from None


def read_id(cursor: str) -> int:
    """The number of a row that is in a cursor."""
    if cursor.isascii() and cursor.isdigit() and len(cursor) <= 18:
        return int(cursor)
    raise invalid_cursor()


def invalid_cursor() -> InvalidTask:
    return InvalidTask(
        "cursor", "Invalid value of cursor. Value should be a next_cursor"
    )
