"""Building blocks of the OpenAPI descriptions of all wire formats."""

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

from tasks_api.api import known_fields
from tasks_api.api.products import Product

View = TypeVar("View", bound=Callable[..., Any])


def text(description: str, **more: Any) -> dict[str, Any]:
    return {"type": "string", "description": description, **more}


def count(description: str, **more: Any) -> dict[str, Any]:
    return {"type": "integer", "minimum": 0, "description": description, **more}


TEXT = {"type": "string"}
NAME = {"type": "string", "minLength": 1, "maxLength": 255}
DATETIME_IN = text("An ISO 8601 date and time. Without an offset it is in UTC.")
CRON = text(
    "A cron expression: five fields, six with seconds first, or seven with years last; "
    "a word such as `@daily`; or an interval such as `@every 90s`. It is in UTC, or in the "
    "time zone of a `CRON_TZ=` before it."
)
DONE_MESSAGE = text("A message that says what the service has done.")
# The error of all wire formats but the older ones.
ERROR = {
    "type": "object",
    "required": ["error"],
    "properties": {
        "error": {
            "type": "object",
            "required": ["message"],
            "properties": {
                "message": text(
                    "A message that says what is wrong, and names the field."
                )
            },
            "description": "Why the request was refused.",
        }
    },
}
# A field that the service accepts and ignores.
IGNORED = {
    "description": "Ignored. The service accepts it so that you can send a response "
    "back as it is.",
    known_fields.IGNORED_MARK: True,
}
UNKNOWN_FIELD = "Unknown field: timezome. Did you mean timezone?"
TOO_LARGE = "The request body is larger than 1048576 bytes"
FORBIDDEN = "This takes a token of scope write, and yours is read"
STORAGE_OUTAGE = "The storage has trouble at the moment; try again"


def optional(properties: dict[str, Any]) -> dict[str, Any]:
    """Schemas of fields that a client may omit or give as null."""
    return {
        name: rule | {"nullable": True}
        if "enum" not in rule
        else rule | {"nullable": True, "enum": [*rule["enum"], None]}
        for name, rule in properties.items()
    }


def json_body(schema: dict[str, Any]) -> dict[str, Any]:
    return {"application/json": schema}


def operation(
    *,
    product: Product,
    operation_id: str,
    summary: str,
    description: str,
    is_strict: bool = True,
    is_read_first: bool = False,
    request: dict[str, Any] | None = None,
    parameters: Sequence[OpenApiParameter] = (),
    responses: dict[Any, Any],
    **more: Any,
) -> Callable[[View], View]:
    """Describe an operation for API users, and limit its requests to the described fields.

    An operation that is not strict ignores other fields and names them in a response
    header. If it `is_read_first`, the view checks the fields of the body itself.
    """
    schema = request["application/json"] if request else None
    if is_strict:
        schema = schema and forbid_other_properties(schema)
        responses = {400: error_response(UNKNOWN_FIELD), **responses}
    else:
        parameters = [*parameters, _IGNORED_FIELDS]
    describe = extend_schema(
        operation_id=operation_id,
        summary=summary,
        description=description,
        tags=[product],
        request=json_body(schema) if schema is not None else None,
        parameters=list(parameters),
        responses=responses,
        **more,
    )
    allowed = known_fields.OperationFields(
        _query_fields(parameters), _body_fields(schema, is_read_first), is_strict
    )
    return lambda view: _set_operation(describe(view), allowed)


def _set_operation(view: Any, allowed: known_fields.OperationFields) -> Any:
    view.operation = allowed
    return view


def _query_fields(parameters: Sequence[OpenApiParameter]) -> known_fields.KnownFields:
    any_value = known_fields.KnownFields()
    return known_fields.KnownFields(dict.fromkeys(_query_names(parameters), any_value))


def _body_fields(
    schema: dict[str, Any] | None, is_read_first: bool
) -> known_fields.KnownFields | None:
    if schema is None:
        return None
    return known_fields.fields_of_schema({} if is_read_first else schema)


def _query_names(parameters: Sequence[OpenApiParameter]) -> list[str]:
    in_query = OpenApiParameter.QUERY
    return [each.name for each in parameters if each.location == in_query]


def forbid_other_properties(rule: Any) -> Any:
    """A schema whose objects allow no other properties than the named ones."""
    if isinstance(rule, list):
        return [forbid_other_properties(each) for each in rule]
    if not isinstance(rule, dict):
        return rule
    found = {name: forbid_other_properties(each) for name, each in rule.items()}
    if isinstance(found.get("properties"), dict) and found.get("type") == "object":
        found.setdefault("additionalProperties", False)
    return found


def response(schema: dict[str, Any], example: object, text: str) -> OpenApiResponse:
    return OpenApiResponse(schema, text, [OpenApiExample(text, example)])


def error_response(message: str) -> OpenApiResponse:
    return response(ERROR, {"error": {"message": message}}, message)


def no_content(text: str) -> OpenApiResponse:
    """A response without a body."""
    return OpenApiResponse(None, text)


def text_errors(**texts: str) -> dict[Any, Any]:
    """Plain-text errors, given as `_400="The message."` for each status."""
    return {
        (int(status[1:]), "text/plain"): response(TEXT, text, text)
        for status, text in texts.items()
    }


def response_header(name: str, status: int, text: str) -> OpenApiParameter:
    return OpenApiParameter(
        name, location=OpenApiParameter.HEADER, description=text, response=[status]
    )


def path_parameter(name: str, text: str) -> OpenApiParameter:
    return OpenApiParameter(name, location=OpenApiParameter.PATH, description=text)


_IGNORED_FIELDS = OpenApiParameter(
    known_fields.IGNORED_HEADER,
    location=OpenApiParameter.HEADER,
    description="The unknown fields and parameters of the request, which the service "
    "has ignored; absent if there are none.",
    response=True,
)
NEXT_PAGE = response_header(
    "Link", 200, 'The URL of the next page, with `rel="next"`; absent on the last page.'
)
# The header of a request that creates, and of the response to a repeated one.
IDEMPOTENCY = [
    OpenApiParameter(
        "Idempotency-Key",
        location=OpenApiParameter.HEADER,
        description="A string of your choice, of 1 to 255 characters, that makes the "
        "request safe to repeat. For 24 hours the same request with the "
        "same key gets the first response again, and the service creates "
        "nothing a second time.",
    ),
    OpenApiParameter(
        "Idempotency-Replayed",
        location=OpenApiParameter.HEADER,
        description="`true` when the response is that of an earlier request with the "
        "same `Idempotency-Key`.",
        response=[200, 201, 202],
    ),
]
INVALID_KEY = (
    "Invalid value of Idempotency-Key. Value should be a string of 1 to 255 characters"
)
KEY_IN_USE = "The first request with this Idempotency-Key is under way"
KEY_REUSED = "This Idempotency-Key came with another request before"


def query_parameter(
    name: str, text: str, *, kind: Any = OpenApiTypes.STR
) -> OpenApiParameter:
    return OpenApiParameter(name, kind, required=True, description=text)


TOO_MANY_ATTEMPTS = "Too many wrong credentials came from this address"


def add_rate_limit_responses(result: dict[str, Any], **kwargs: Any) -> dict[str, Any]:
    """Add a 429 to each operation with a 401, in the same format."""
    for path in result["paths"].values():
        for operation in path.values():
            answers = operation.get("responses", {})
            if "401" in answers and "429" not in answers:
                like = _with_rate_limit_example(answers["401"])
                answers["429"] = {**like, "description": TOO_MANY_ATTEMPTS}
    return result


def _with_rate_limit_example(answer: dict[str, Any]) -> dict[str, Any]:
    """A response whose example is the rate limit message."""
    contents = {}
    for media_type, part in answer["content"].items():
        [example] = part["examples"].values()
        said = {
            "value": _replace_messages(example["value"]),
            "summary": TOO_MANY_ATTEMPTS,
        }
        contents[media_type] = {**part, "examples": {"SlowDown": said}}
    return {**answer, "content": contents}


def _replace_messages(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: _replace_messages(each) for key, each in value.items()}
    return f"{TOO_MANY_ATTEMPTS}."
