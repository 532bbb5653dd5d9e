"""Tokens, users, signing secrets and the audit log, as OpenAPI tells them."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeVar

from drf_spectacular.types import OpenApiTypes
from drf_spectacular.utils import (
    OpenApiExample,
    OpenApiParameter,
)

from tasks_api.api import schema

View = TypeVar("View", bound=Callable[..., Any])
Describe = Callable[[View], View]

WHEN = {"type": "string", "format": "date-time"}
NULLABLE_WHEN = {**WHEN, "nullable": True}
SCOPE = {"type": "string", "enum": ["read", "write", "admin"]}
ROLE = {"type": "string", "enum": ["member", "admin"]}
CURSOR_OUT = {"type": "string", "nullable": True}


def _object(**properties: Any) -> dict[str, Any]:
    return {
        "type": "object",
        "required": list(properties),
        "properties": properties,
    }


def _given(**properties: Any) -> dict[str, Any]:
    return {"type": "object", "properties": properties}


def _list(name: str, item: dict[str, Any]) -> dict[str, Any]:
    items = {"type": "array", "items": item}
    return _object(**{name: items, "next_cursor": CURSOR_OUT})


TOKEN_OUT = _object(
    id=schema.TEXT,
    user=schema.TEXT,
    name=schema.TEXT,
    prefix={"type": "string", "description": "The first characters, to know it by."},
    scope=SCOPE,
    created_at=WHEN,
    expires_at=NULLABLE_WHEN,
    revoked_at=NULLABLE_WHEN,
    last_used_at={**NULLABLE_WHEN, "description": "To within ten minutes."},
)
NEW_TOKEN_OUT = _object(
    **TOKEN_OUT["properties"],
    token={"type": "string", "description": "The clear text, shown only now."},
)
TOKEN_IN = _given(
    name={"type": "string", "maxLength": 100, "description": "What it is for."},
    **schema.optional(
        {"scope": SCOPE | {"description": "That of the calling token unless given."}}
    ),
    expires_in={
        "type": "integer",
        "minimum": 1,
        "maximum": 2**31 - 1,
        "nullable": True,
        "description": "Seconds to live; never beyond the end of the calling token.",
    },
    user={
        "type": "string",
        "nullable": True,
        "description": "Whose; for administrators of the tenant.",
    },
)
OVERLAP_IN = _given(
    overlap_seconds={
        "type": "integer",
        "minimum": 0,
        "maximum": 2_592_000,
        "nullable": True,
        "description": "How long the old one lives on; a day unless given.",
    }
)
USER_OUT = _object(
    name=schema.TEXT,
    username=schema.TEXT,
    role=ROLE,
    is_active={"type": "boolean"},
    created_at=WHEN,
)
USER_IN = {
    **_given(
        name={"type": "string", "minLength": 1, "maxLength": 150},
        **schema.optional({"role": ROLE}),
    ),
    "required": ["name"],
}
USER_CHANGE = _given(
    **schema.optional({"role": ROLE, "is_active": {"type": "boolean"}})
)
TRANSFER_IN = {
    **_given(to={"type": "string", "minLength": 1, "maxLength": 150}),
    "required": ["to"],
}
TRANSFERRED = _object(message=schema.TEXT, count={"type": "integer"})
SECRET_OUT = _object(
    id={"type": "string", "description": "A fingerprint, to know it by."},
    created_at=WHEN,
    expires_at=NULLABLE_WHEN,
    is_readable={"type": "boolean"},
)
SECRETS_OUT = _object(secrets={"type": "array", "items": SECRET_OUT})
NEW_SECRET_OUT = _object(
    id=schema.TEXT,
    secret={"type": "string", "description": "The secret, shown only now."},
)
ENTRY_OUT = _object(
    id=schema.TEXT,
    at=WHEN,
    actor=schema.TEXT,
    via={"type": "string", "enum": ["api", "admin", "cli", "service"]},
    token={
        "type": "string",
        "description": "The prefix of the token, if there was one.",
    },
    action=schema.TEXT,
    objects={"type": "array", "items": schema.TEXT},
    changes={
        "type": "object",
        "description": "Of each field what it was and is.",
        "additionalProperties": _object(**{"from": {}, "to": {}}),
    },
)
MESSAGE = _object(message=schema.TEXT)

NOW = "2026-11-21T10:00:00Z"
TOKEN = {
    "id": "f6d0ad2f-9f2c-4c51-a8a0-6b3e2f6f7c11",
    "user": "ann",
    "name": "deploy",
    "prefix": "sch_Zk3vQ2aB",
    "scope": "write",
    "created_at": NOW,
    "expires_at": "2027-02-19T10:00:00Z",
    "revoked_at": None,
    "last_used_at": None,
}
NEW_TOKEN = {**TOKEN, "token": "sch_Zk3vQ2aB…"}
USER = {
    "name": "ann",
    "username": "ann@acme",
    "role": "member",
    "is_active": True,
    "created_at": NOW,
}
SECRET = {
    "id": "9f86d081884c7d65",
    "created_at": NOW,
    "expires_at": None,
    "is_readable": True,
}
ENTRY = {
    "id": "01a1fc25-ccbb-7241-824c-01539cec9869",
    "at": NOW,
    "actor": "ann@acme",
    "via": "api",
    "token": "sch_Zk3vQ2aB",
    "action": "user.change",
    "objects": ["bob"],
    "changes": {"role": {"from": "member", "to": "admin"}},
}


UNAUTHORIZED = schema.error("Authentication credentials were not provided.")
FAILURE = schema.error("Internal error")
FORBIDDEN = schema.error("This takes a token of scope admin, and yours is write")
NO_TOKEN = schema.error("Token not found")
NO_USER = schema.error("User not found")
BAD_OVERLAP = schema.error(
    "Invalid value of overlap_seconds. Value should be at most 2592000"
)
TOO_LARGE = schema.error(schema.TOO_LARGE)
BAD_LIMIT = schema.error(
    "Invalid value of limit. Value should be a whole number from 1"
)

PAGING = [
    OpenApiParameter(
        "limit", OpenApiTypes.INT, description="100 unless given, at most 1000."
    ),
    OpenApiParameter(
        "cursor", OpenApiTypes.STR, description="The next_cursor of a page."
    ),
    schema.header("Link", 200, 'Where the next ones are, with `rel="next"`, if any.'),
]
OWNER = OpenApiParameter(
    "owner",
    OpenApiTypes.STR,
    description="For administrators: the name of a user of the tenant, or all.",
)
FILTERS = [
    OpenApiParameter("actor", description="A username, such as ann@acme."),
    OpenApiParameter(
        "action", description="Such as task.pause; task. is all of a kind."
    ),
    OpenApiParameter(
        "object", description="The id of an object, or the name of a user."
    ),
    OpenApiParameter(
        "from", OpenApiTypes.DATETIME, description="This moment or later."
    ),
    OpenApiParameter("to", OpenApiTypes.DATETIME, description="Before this moment."),
]


def _describe(
    name: str, summary: str, answers: dict[Any, Any], **more: Any
) -> Describe[Any]:
    responses = {**answers, 401: UNAUTHORIZED, 403: FORBIDDEN, 500: FAILURE}
    return schema.operation(
        operation_id=name, summary=summary, responses=responses, **more
    )


def _with_body(
    body: dict[str, Any],
    example: dict[str, Any],
    *,
    answered: dict[str, Any] | None = None,
) -> dict[str, Any]:
    """What a request says; what only `answered` has is ignored, and can be sent back."""
    ignored = dict.fromkeys((answered or {}).get("properties", {}), schema.IGNORED)
    known = {**body, "properties": {**ignored, **body["properties"]}}
    return {
        "request": schema.body(known),
        "examples": [OpenApiExample("an example", example, request_only=True)],
    }


list_tokens = _describe(
    "list_tokens",
    "Get your tokens",
    {
        200: schema.answer(
            _list("tokens", TOKEN_OUT),
            {"tokens": [TOKEN], "next_cursor": None},
            "Tokens, the newest first.",
        ),
        400: BAD_LIMIT,
    },
    parameters=[OWNER, *PAGING],
)
issue_token = _describe(
    "issue_token",
    "Issue a token",
    {
        201: schema.answer(NEW_TOKEN_OUT, NEW_TOKEN, "The token, shown only now."),
        400: schema.error(
            "Invalid value of scope. Value should be one of read, write, admin"
        ),
        413: TOO_LARGE,
    },
    parameters=[schema.header("Location", 201, "The path of the new token.")],
    **_with_body(
        TOKEN_IN,
        {"name": "deploy", "scope": "write", "expires_in": 7776000},
        answered=TOKEN_OUT,
    ),
)
get_token = _describe(
    "get_token",
    "Get a token, without its clear text",
    {200: schema.answer(TOKEN_OUT, TOKEN, "The token."), 404: NO_TOKEN},
)
revoke_token = _describe(
    "revoke_token",
    "Revoke a token",
    {
        200: schema.answer(
            MESSAGE,
            {"message": "Token has been revoked successfully"},
            "It opens nothing any more.",
        ),
        404: NO_TOKEN,
    },
)
rotate_token = _describe(
    "rotate_token",
    "Put a new token in the place of one",
    {
        201: schema.answer(NEW_TOKEN_OUT, NEW_TOKEN, "The token, shown only now."),
        400: BAD_OVERLAP,
        404: NO_TOKEN,
        413: TOO_LARGE,
    },
    **_with_body(OVERLAP_IN, {"overlap_seconds": 3600}),
)
list_users = _describe(
    "list_users",
    "Get the users of the tenant",
    {
        200: schema.answer(
            _list("users", USER_OUT),
            {"users": [USER], "next_cursor": None},
            "Users, the newest first.",
        ),
        400: BAD_LIMIT,
    },
    parameters=PAGING,
)
add_user = _describe(
    "add_user",
    "Add a user to the tenant",
    {
        201: schema.answer(USER_OUT, USER, "The user, who has no token yet."),
        400: schema.error("Missing key: name"),
        409: schema.error("There is a user ann already."),
        413: TOO_LARGE,
    },
    **_with_body(USER_IN, {"name": "ann", "role": "member"}, answered=USER_OUT),
)
get_user = _describe(
    "get_user",
    "Get a user of the tenant",
    {200: schema.answer(USER_OUT, USER, "The user."), 404: NO_USER},
)
change_user = _describe(
    "change_user",
    "Give a user another role, deactivate or activate them",
    {
        200: schema.answer(USER_OUT, USER, "The user as they are now."),
        400: schema.error("Nobody may lock out themselves; ask another one"),
        404: NO_USER,
        413: TOO_LARGE,
    },
    **_with_body(USER_CHANGE, {"is_active": False}, answered=USER_OUT),
)
transfer_tasks = _describe(
    "transfer_tasks",
    "Hand all tasks of a user over to another one",
    {
        200: schema.answer(
            TRANSFERRED,
            {"message": "Tasks have been handed over successfully", "count": 3},
            "How many there were, ended ones included.",
        ),
        400: schema.error("Invalid value of to. There is no such user"),
        404: NO_USER,
        413: TOO_LARGE,
    },
    **_with_body(TRANSFER_IN, {"to": "ann"}),
)
list_signing_secrets = _describe(
    "list_signing_secrets",
    "Get the live signing secrets, without the secrets themselves",
    {200: schema.answer(SECRETS_OUT, {"secrets": [SECRET]}, "The newest first.")},
)
rotate_signing_secret = _describe(
    "rotate_signing_secret",
    "Make a new signing secret; the old one signs too for a while",
    {
        201: schema.answer(
            NEW_SECRET_OUT,
            {"id": SECRET["id"], "secret": "whsec_…"},
            "The secret, shown only now.",
        ),
        400: BAD_OVERLAP,
        413: TOO_LARGE,
    },
    **_with_body(OVERLAP_IN, {"overlap_seconds": 86400}),
)
list_audit = _describe(
    "list_audit_entries",
    "Get who changed what in the tenant",
    {
        200: schema.answer(
            _list("entries", ENTRY_OUT),
            {"entries": [ENTRY], "next_cursor": None},
            "Entries, the newest first.",
        ),
        400: BAD_LIMIT,
    },
    parameters=[*FILTERS, *PAGING],
)
