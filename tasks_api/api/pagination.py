"""Pages of lists: their size, and the link to the next one."""

from __future__ import annotations

from collections.abc import Mapping

from rest_framework.request import Request
from rest_framework.utils.urls import replace_query_param

from tasks_api.api import fields


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
