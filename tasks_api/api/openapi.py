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
DONE_MESSAGE = text("A sentence that says what was done.")
# How every surface but the older formats says what went wrong.
ERROR = {
    "type": "object",
    "required": ["error"],
    "properties": {
        "error": {
            "type": "object",
            "required": ["message"],
            "properties": {
                "message": text(
                    "A sentence that says what went wrong, and names the field it is about."
                )
            },
            "description": "Why the request was refused.",
        }
    },
}
# What may be sent and counts for nothing, whatever it is.
IGNORED = {
    "description": "Ignored. It is accepted so that an answer can be sent back as it is.",
    known_fields.IGNORED_MARK: True,
}
UNKNOWN_FIELD = "Unknown field: timezome. Did you mean timezone?"
TOO_LARGE = "The request body is larger than 1048576 bytes"
FORBIDDEN = "This takes a token of scope write, and yours is read"
STORAGE_OUTAGE = "The storage has trouble at the moment; try again"


def optional(properties: dict[str, Any]) -> dict[str, Any]:
    """Fields that a client may leave out, or give as null."""
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
    """Describe an operation, and let its requests have the fields described and no others.

    Summary and description are for who writes a client.

    One that is not strict ignores others, and names them in a header of its answers. The
    fields of a body that `is_read_first` are for its reader to check.
    """
    rule = request["application/json"] if request else None
    if is_strict:
        rule = rule and forbid_other_properties(rule)
        responses = {400: error_response(UNKNOWN_FIELD), **responses}
    else:
        parameters = [*parameters, _IGNORED_FIELDS]
    describe = extend_schema(
        operation_id=operation_id,
        summary=summary,
        description=description,
        tags=[product],
        request=json_body(rule) if rule is not None else None,
        parameters=list(parameters),
        responses=responses,
        **more,
    )

    def mark(view: View) -> View:
        described: Any = describe(view)
        described.operation = known_fields.OperationFields(
            known_fields.KnownFields(
                {name: known_fields.KnownFields() for name in _query_names(parameters)}
            ),
            None
            if rule is None
            else known_fields.fields_of_schema({} if is_read_first else rule),
            is_strict,
        )
        return described  # type: ignore[no-any-return]  # the view itself

    return mark


def _query_names(parameters: Sequence[OpenApiParameter]) -> list[str]:
    in_query = OpenApiParameter.QUERY
    return [each.name for each in parameters if each.location == in_query]


def forbid_other_properties(rule: Any) -> Any:
    """A schema whose objects have the properties that it names, and no others."""
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
    """An answer without a body."""
    return OpenApiResponse(None, text)


def text_errors(**texts: str) -> dict[Any, Any]:
    """Errors as plain text: `_400="The sentence."` for each status."""
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
    description="The fields and parameters of the request that the service does not know "
    "and has ignored, if there are any.",
    response=True,
)
NEXT_PAGE = response_header(
    "Link", 200, 'The URL of the next page, with `rel="next"`; absent on the last page.'
)
# What a request that creates may say, and what it is answered when it was said before.
IDEMPOTENCY = [
    OpenApiParameter(
        "Idempotency-Key",
        location=OpenApiParameter.HEADER,
        description="A string of your choice, of 1 to 255 characters, that makes the request "
        "safe to send again. For 24 hours the same request with the same key gets the first "
        "answer again, and nothing is created a second time.",
    ),
    OpenApiParameter(
        "Idempotency-Replayed",
        location=OpenApiParameter.HEADER,
        description="`true` when the answer is that of an earlier request with the same "
        "`Idempotency-Key`.",
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
    """Where a credential may be wrong, too many of them may have been, in the same shape."""
    for path in result["paths"].values():
        for operation in path.values():
            answers = operation.get("responses", {})
            if "401" in answers and "429" not in answers:
                like = _with_rate_limit_example(answers["401"])
                answers["429"] = {**like, "description": TOO_MANY_ATTEMPTS}
    return result


def _with_rate_limit_example(answer: dict[str, Any]) -> dict[str, Any]:
    """An answer whose example says that there were too many."""
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
