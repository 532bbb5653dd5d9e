"""The operations on tokens, users, secrets and the audit log in the OpenAPI document."""

from __future__ import annotations

from drf_spectacular.types import OpenApiTypes
from drf_spectacular.utils import OpenApiParameter

from tasks_api.api import openapi
from tasks_api.api.access.bounds_fields import EXAMPLE
from tasks_api.api.access.openapi_fields import (
    ENTRY,
    ENTRY_OUT,
    NEW_SECRET_OUT,
    NEW_TOKEN,
    NEW_TOKEN_OUT,
    OVERLAP_IN,
    SECRET,
    SECRETS_OUT,
    TOKEN,
    TOKEN_IN,
    TOKEN_OUT,
    TRANSFER_IN,
    TRANSFER_OUT,
    USAGE,
    USAGE_OUT,
    USER,
    USER_CHANGE_IN,
    USER_IN,
    USER_OUT,
)
from tasks_api.api.products import Product
from tasks_api.api.tenant_openapi import (
    BAD_LIMIT,
    MESSAGE,
    PAGING,
    TOO_LARGE,
    describer,
    page_of,
    with_body,
)

NO_TOKEN = openapi.error_response("Token not found")
NO_USER = openapi.error_response("User not found")
BAD_OVERLAP = openapi.error_response(
    "Invalid value of overlap_seconds. Value should be at most 2592000"
)
OWNER = OpenApiParameter(
    "owner",
    OpenApiTypes.STR,
    description="For administrators: the name of a user of the tenant, or `all`.",
)
FILTERS = [
    OpenApiParameter(
        "actor", description="Only changes by this username, such as `ann@acme`."
    ),
    OpenApiParameter(
        "action",
        description="Only this action, such as `task.pause`; `task.` for all of a kind.",
    ),
    OpenApiParameter(
        "object",
        description="Only changes to this object: an id, or the name of a user.",
    ),
    OpenApiParameter(
        "from",
        OpenApiTypes.DATETIME,
        description="Only changes at this moment or later.",
    ),
    OpenApiParameter(
        "to", OpenApiTypes.DATETIME, description="Only changes before this moment."
    ),
]
_TOKEN_ID = openapi.path_parameter(
    "token_id", "The id of the token, not the token itself."
)
_RENEW_BY = "2026-12-06T12:00:00Z"
_USER_NAME = openapi.path_parameter("name", "The name of the user in the tenant.")


_describe = describer(Product.ACCESS)

list_tokens = _describe(
    "list_tokens",
    "List your tokens",
    "Returns your tokens, the newest first and revoked ones included, without the "
    "tokens themselves. Administrators use `owner` to list those of a user or of the "
    "whole tenant.",
    {
        200: openapi.response(
            page_of("tokens", TOKEN_OUT, "The tokens."),
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
    "Creates a token for yourself, or for another user if you are an administrator. "
    "Give each program its own token, with as little scope and as short a lifetime as "
    "it needs. The response shows the token once. A token cannot create one with a "
    "greater scope: that results in 403.",
    {
        201: openapi.response(NEW_TOKEN_OUT, NEW_TOKEN, "The token, shown only now."),
        400: openapi.error_response(
            "Invalid value of scope. Value should be one of read, write, admin"
        ),
        413: TOO_LARGE,
    },
    parameters=[openapi.response_header("Location", 201, "The path of the new token.")],
    **with_body(
        TOKEN_IN,
        {"name": "deploy", "scope": "write", "expires_in": 7776000},
        answered=TOKEN_OUT,
    ),
)
get_token = _describe(
    "get_token",
    "Get a token",
    "Returns what is known about a token: its user, scope, end and last use. The "
    "service never shows the token itself again. A token of another user results in "
    "404, unless you are an administrator.",
    {200: openapi.response(TOKEN_OUT, TOKEN, "The token."), 404: NO_TOKEN},
    parameters=[_TOKEN_ID],
)
revoke_token = _describe(
    "revoke_token",
    "Revoke a token",
    "Ends a token at once: requests with it result in 401 from now on. Use it when a "
    "token has leaked or is not needed any more. An unknown token results in 404.",
    {
        200: openapi.response(
            MESSAGE,
            {"message": "Token has been revoked successfully"},
            "The token is refused from now on.",
        ),
        404: NO_TOKEN,
    },
    parameters=[_TOKEN_ID],
)
renew_token = _describe(
    "renew_token",
    "Renew a token with bounds",
    "Lets the tasks that were made with a token go on for `renew_within` seconds from "
    "now. Only this call renews them, and no other use of the token does. What has "
    "ended stays so. A token with bounds renews itself; others of its user renew it, too. "
    "409 if the token has no bound `renew_within`.",
    {
        200: openapi.response(
            TOKEN_OUT, TOKEN | {"bounds": EXAMPLE, "renew_by": _RENEW_BY}, "The token."
        ),
        404: NO_TOKEN,
        409: openapi.error_response("The token has no bounds"),
    },
    parameters=[_TOKEN_ID],
)
get_usage = _describe(
    "get_usage",
    "Read quotas and what is used of them",
    "Returns each quota of your tenant, and those of the token if it has bounds. `limit` "
    "is null if there is no quota, and `used` is null if nothing is counted for it. The "
    "runs of a tenant are counted by the day in UTC, those of a token over any 24 hours; "
    "then `resets_at` is the moment at which the first of them counts no more.",
    {200: openapi.response(USAGE_OUT, USAGE, "The quotas.")},
)
rotate_token = _describe(
    "rotate_token",
    "Rotate a token",
    "Creates a new token with the user, name and scope of an old one, which stays "
    "valid for `overlap_seconds`, so that programs can switch without a failure. The "
    "response shows the new token once.",
    {
        201: openapi.response(NEW_TOKEN_OUT, NEW_TOKEN, "The token, shown only now."),
        400: BAD_OVERLAP,
        404: NO_TOKEN,
        413: TOO_LARGE,
    },
    parameters=[_TOKEN_ID],
    **with_body(OVERLAP_IN, {"overlap_seconds": 3600}),
)
list_users = _describe(
    "list_users",
    "List the users",
    "Returns the users of your tenant, the newest first, with their roles and whether "
    "they are active. This needs an administrator's token of scope admin.",
    {
        200: openapi.response(
            page_of("users", USER_OUT, "The users."),
            {"users": [USER], "next_cursor": None},
            "Users, the newest first.",
        ),
        400: BAD_LIMIT,
    },
    parameters=PAGING,
)
add_user = _describe(
    "add_user",
    "Add a user",
    "Adds a user to your tenant. The user has no token yet: issue one with `user` set "
    "to their name. A name that is taken results in 409.",
    {
        201: openapi.response(USER_OUT, USER, "The user, who has no token yet."),
        400: openapi.error_response("Missing key: name"),
        409: openapi.error_response("There is a user ann already."),
        413: TOO_LARGE,
    },
    **with_body(USER_IN, {"name": "ann", "role": "member"}, answered=USER_OUT),
)
get_user = _describe(
    "get_user",
    "Get a user",
    "Returns a user of your tenant, with their role and whether they are active. An "
    "unknown name results in 404.",
    {200: openapi.response(USER_OUT, USER, "The user."), 404: NO_USER},
    parameters=[_USER_NAME],
)
change_user = _describe(
    "change_user",
    "Change a user",
    "Gives a user another role, or deactivates or activates them. The service refuses "
    "the tokens of a deactivated user and pauses their tasks until you activate the "
    "user. You can neither demote nor deactivate yourself.",
    {
        200: openapi.response(USER_OUT, USER, "The user as they are now."),
        400: openapi.error_response(
            "You cannot demote or deactivate yourself; ask another administrator"
        ),
        404: NO_USER,
        413: TOO_LARGE,
    },
    parameters=[_USER_NAME],
    **with_body(USER_CHANGE_IN, {"is_active": False}, answered=USER_OUT),
)
transfer_tasks = _describe(
    "transfer_tasks",
    "Transfer the tasks of a user",
    "Gives all tasks of a user, with their history, to another user of the tenant. "
    "Use it before somebody leaves. The response says how many tasks there were.",
    {
        200: openapi.response(
            TRANSFER_OUT,
            {"message": "Tasks have been handed over successfully", "count": 3},
            "How many there were, ended ones included.",
        ),
        400: openapi.error_response("Invalid value of to. There is no such user"),
        404: NO_USER,
        413: TOO_LARGE,
    },
    parameters=[_USER_NAME],
    **with_body(TRANSFER_IN, {"to": "ann"}),
)
list_signing_secrets = _describe(
    "list_signing_secrets",
    "List the signing secrets",
    "Returns the fingerprints of the secrets that sign requests, and until when each "
    "of them is valid. The service never shows the secrets themselves again.",
    {200: openapi.response(SECRETS_OUT, {"secrets": [SECRET]}, "The newest first.")},
)
rotate_signing_secret = _describe(
    "rotate_signing_secret",
    "Rotate the signing secret",
    "Creates a new signing secret and shows it once. Requests carry the signatures of "
    "both secrets for `overlap_seconds`, so that receivers can switch without a "
    "failure.",
    {
        201: openapi.response(
            NEW_SECRET_OUT,
            {"id": SECRET["id"], "secret": "whsec_…"},
            "The secret, shown only now.",
        ),
        400: BAD_OVERLAP,
        413: TOO_LARGE,
    },
    **with_body(OVERLAP_IN, {"overlap_seconds": 86400}),
)
list_audit = _describe(
    "list_audit_entries",
    "List audit entries",
    "Returns who changed what in your tenant, when, how and with which token, the newest first. "
    "Entries are never changed; they are deleted when their retention is over.",
    {
        200: openapi.response(
            page_of("entries", ENTRY_OUT, "The entries."),
            {"entries": [ENTRY], "next_cursor": None},
            "Entries, the newest first.",
        ),
        400: BAD_LIMIT,
    },
    parameters=[*FILTERS, *PAGING],
)
