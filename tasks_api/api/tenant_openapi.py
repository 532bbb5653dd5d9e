"""What the descriptions of a tenant's own things share: tokens, users, channels, rules."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeVar

from drf_spectacular.types import OpenApiTypes
from drf_spectacular.utils import OpenApiExample, OpenApiParameter

from tasks_api.api import openapi
from tasks_api.api.openapi import DONE_MESSAGE, text
from tasks_api.api.products import Product

View = TypeVar("View", bound=Callable[..., Any])
Describe = Callable[[View], View]

UNAUTHORIZED = openapi.error_response("Authentication credentials were not provided.")
FAILURE = openapi.error_response("Internal error")
FORBIDDEN = openapi.error_response(
    "This takes a token of scope admin, and yours is write"
)
TOO_LARGE = openapi.error_response(openapi.TOO_LARGE)
BAD_LIMIT = openapi.error_response(
    "Invalid value of limit. Value should be a whole number from 1"
)

PAGING = [
    OpenApiParameter(
        "limit",
        OpenApiTypes.INT,
        description="The maximum number to return: 100 if absent, up to 1000.",
    ),
    OpenApiParameter(
        "cursor",
        OpenApiTypes.STR,
        description="The `next_cursor` of the previous page.",
    ),
    openapi.NEXT_PAGE,
]
CURSOR_OUT = text(
    "Send it as `cursor` to get the next page; null on the last page.", nullable=True
)


def closed(**properties: Any) -> dict[str, Any]:
    """The schema of an object that has all of these properties."""
    return {
        "type": "object",
        "required": list(properties),
        "properties": properties,
    }


MESSAGE = closed(message=DONE_MESSAGE)


def page_of(name: str, item: dict[str, Any], description: str) -> dict[str, Any]:
    items = {"type": "array", "description": description, "items": item}
    return closed(**{name: items, "next_cursor": CURSOR_OUT})


def describer(product: Product) -> Callable[..., Describe[Any]]:
    """A function that describes operations of a product, with the usual refusals."""

    def describe(
        name: str, summary: str, description: str, answers: dict[Any, Any], **more: Any
    ) -> Describe[Any]:
        return openapi.operation(
            product=product,
            operation_id=name,
            summary=summary,
            description=description,
            responses={**answers, 401: UNAUTHORIZED, 403: FORBIDDEN, 500: FAILURE},
            **more,
        )

    return describe


def with_body(
    body: dict[str, Any],
    example: dict[str, Any],
    *,
    answered: dict[str, Any] | None = None,
) -> dict[str, Any]:
    """The request of an operation. It ignores fields that only the `answered` schema has."""
    ignored = dict.fromkeys((answered or {}).get("properties", {}), openapi.IGNORED)
    known = {**body, "properties": {**ignored, **body["properties"]}}
    return {
        "request": openapi.json_body(known),
        "examples": [OpenApiExample("an example", example, request_only=True)],
    }
