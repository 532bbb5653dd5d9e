"""What the formats' OpenAPI descriptions are made of."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, TypeVar

from drf_spectacular.types import OpenApiTypes
from drf_spectacular.utils import (
    OpenApiExample,
    OpenApiParameter,
    OpenApiResponse,
    extend_schema,
)

from tasks_api.api import known

View = TypeVar("View", bound=Callable[..., Any])

TEXT = {"type": "string"}
NAME = {"type": "string", "minLength": 1, "maxLength": 255}
MOMENT_IN = {
    "type": "string",
    "description": "ISO 8601 date and time; without an offset it is UTC.",
}
CRON = {
    "type": "string",
    "description": "Five fields, six with seconds first, or seven with years last; "
    "`@daily` and its kind; `@every 90s`. In UTC, or in the zone of a `CRON_TZ=` before it.",
}
# How every surface but the older formats says what went wrong.
ERROR = {
    "type": "object",
    "required": ["error"],
    "properties": {
        "error": {
            "type": "object",
            "required": ["message"],
            "properties": {"message": TEXT},
        }
    },
}
# What may be sent and counts for nothing, whatever it is.
IGNORED = {
    "description": "Ignored, so that what was read can be sent back.",
    known.MARK: True,
}
UNKNOWN = "Unknown field: timezome. Did you mean timezone?"
TOO_LARGE = "The request body is larger than 1048576 bytes"
FORBIDDEN = "This takes a token of scope write, and yours is read"
OUTAGE = "The storage has trouble at the moment; try again"


def optional(properties: dict[str, Any]) -> dict[str, Any]:
    """Fields that a client may leave out, or give as null."""
    return {
        name: rule | {"nullable": True}
        if "enum" not in rule
        else rule | {"nullable": True, "enum": [*rule["enum"], None]}
        for name, rule in properties.items()
    }


def body(schema: dict[str, Any]) -> dict[str, Any]:
    return {"application/json": schema}


def operation(
    *,
    is_strict: bool = True,
    is_read_first: bool = False,
    request: dict[str, Any] | None = None,
    parameters: Sequence[OpenApiParameter] = (),
    responses: dict[Any, Any],
    **more: Any,
) -> Callable[[View], View]:
    """Describe an operation, and let its requests have the fields described and no others.

    One that is not strict ignores others, and names them in a header of its answers. The
    fields of a body that `is_read_first` are for its reader to check.
    """
    rule = request["application/json"] if request else None
    if is_strict:
        rule = rule and closed(rule)
        responses = {400: error(UNKNOWN), **responses}
    else:
        parameters = [*parameters, _IGNORED_FIELDS]
    describe = extend_schema(
        request=body(rule) if rule is not None else None,
        parameters=list(parameters),
        responses=responses,
        **more,
    )

    def mark(view: View) -> View:
        described: Any = describe(view)
        described.operation = known.Operation(
            known.Known({name: known.Known() for name in _queried(parameters)}),
            None if rule is None else known.read_off({} if is_read_first else rule),
            is_strict,
        )
        return described  # type: ignore[no-any-return]  # the view itself

    return mark


def _queried(parameters: Sequence[OpenApiParameter]) -> list[str]:
    in_query = OpenApiParameter.QUERY
    return [each.name for each in parameters if each.location == in_query]


def closed(rule: Any) -> Any:
    """A schema whose objects have the properties that it names, and no others."""
    if isinstance(rule, list):
        return [closed(each) for each in rule]
    if not isinstance(rule, dict):
        return rule
    found = {name: closed(each) for name, each in rule.items()}
    if isinstance(found.get("properties"), dict) and found.get("type") == "object":
        found.setdefault("additionalProperties", False)
    return found


def answer(schema: dict[str, Any], example: object, text: str) -> OpenApiResponse:
    return OpenApiResponse(schema, text, [OpenApiExample(text, example)])


def error(message: str) -> OpenApiResponse:
    return answer(ERROR, {"error": {"message": message}}, message)


def nothing(text: str) -> OpenApiResponse:
    """An answer without a body."""
    return OpenApiResponse(None, text)


def sentences(**texts: str) -> dict[Any, Any]:
    """Errors as plain text: `_400="The sentence."` for each status."""
    return {
        (int(status[1:]), "text/plain"): answer(TEXT, text, text)
        for status, text in texts.items()
    }


def header(name: str, status: int, text: str) -> OpenApiParameter:
    return OpenApiParameter(
        name, location=OpenApiParameter.HEADER, description=text, response=[status]
    )


_IGNORED_FIELDS = OpenApiParameter(
    known.IGNORED_HEADER,
    location=OpenApiParameter.HEADER,
    description="The fields and parameters of the request that are not known, if any.",
    response=True,
)
# What a request that creates may say, and what it is answered when it was said before.
IDEMPOTENCY = [
    OpenApiParameter(
        "Idempotency-Key",
        location=OpenApiParameter.HEADER,
        description="A text of your own, of 1 to 255 characters. The same request under "
        "the same key within 24 hours is answered as the first one was, and makes nothing.",
    ),
    OpenApiParameter(
        "Idempotency-Replayed",
        location=OpenApiParameter.HEADER,
        description="`true` on such an answer.",
        response=[200, 201, 202],
    ),
]
KEY_UNFIT = (
    "Invalid value of Idempotency-Key. Value should be a string of 1 to 255 characters"
)
KEY_IN_USE = "The first request with this Idempotency-Key is under way"
KEY_REUSED = "This Idempotency-Key came with another request before"


def query(name: str, text: str, *, kind: Any = OpenApiTypes.STR) -> OpenApiParameter:
    return OpenApiParameter(name, kind, required=True, description=text)


SLOW_DOWN = "Too many wrong credentials came from this address"


def tell_of_limits(result: dict[str, Any], **kwargs: Any) -> dict[str, Any]:
    """Where a credential may be wrong, too many of them may have been, in the same shape."""
    for path in result["paths"].values():
        for operation in path.values():
            answers = operation.get("responses", {})
            if "401" in answers and "429" not in answers:
                like = _reworded(answers["401"])
                answers["429"] = {**like, "description": SLOW_DOWN}
    return result


def _reworded(answer: Any, *, in_example: bool = False) -> Any:
    """An answer whose examples say that there were too many."""
    if isinstance(answer, dict):
        return {
            key: _reworded(each, in_example=in_example or key == "value")
            for key, each in answer.items()
        }
    return f"{SLOW_DOWN}." if in_example and isinstance(answer, str) else answer
