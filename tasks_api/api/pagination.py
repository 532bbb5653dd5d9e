"""Pages of lists: how many rows one has, and where the next one is."""

from __future__ import annotations

from collections.abc import Mapping

from rest_framework.request import Request
from rest_framework.utils.urls import replace_query_param

from tasks_api.api import fields


def page_size(query: Mapping[str, str], *, default: int, maximum: int) -> int:
    """The `limit` that a query string asks for. Raises InvalidTask unless it is one."""
    return min(
        fields.whole_number_parameter(query, "limit", default, minimum=1), maximum
    )


def next_page_link(request: Request, **parameters: object) -> dict[str, str]:
    """The header that leads to the next page (RFC 8288), which differs in these."""
    url = request.build_absolute_uri()
    for name, value in parameters.items():
        url = replace_query_param(url, name, value)
    return {"Link": f'<{url}>; rel="next"'}
