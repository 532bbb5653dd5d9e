"""The schemas of tokens, users, signing secrets and audit entries in the OpenAPI document."""

from __future__ import annotations

from typing import Any

from tasks_api.api.access.bounds_fields import BOUNDS, RENEW_BY
from tasks_api.api.openapi import (
    DONE_MESSAGE,
    count,
    optional,
    text,
)
from tasks_api.api.tenant_openapi import closed

MAX_OVERLAP = 2_592_000


def _when(description: str, **more: Any) -> dict[str, Any]:
    return text(description, format="date-time", **more)


def _optional_object(**properties: Any) -> dict[str, Any]:
    return {"type": "object", "properties": properties}


def _scope(description: str) -> dict[str, Any]:
    return text(description, enum=["read", "write", "admin"])


_ROLE = text(
    "An `admin` manages the whole tenant, a `member` their own tasks, and a `viewer` "
    "reads what the tenant has.",
    enum=["viewer", "member", "admin"],
)
_IS_ACTIVE = {
    "type": "boolean",
    "description": "Whether the user may use the API. The tasks of an inactive user "
    "are paused.",
}
TOKEN_OUT = closed(
    id=text("The id of the token, by which it is read, rotated and revoked."),
    user=text("The name of the user whose token it is."),
    name=text("What the token is for, as its creator described it."),
    prefix=text("The first characters of the token, to recognise it by."),
    scope=_scope("What the token may do: `read`, `write`, or `admin` for everything."),
    created_at=_when("When the token was made."),
    expires_at=_when("When the token ends by itself; null if never.", nullable=True),
    revoked_at=_when("When the token was revoked; null if it was not.", nullable=True),
    last_used_at=_when(
        "When the token was last used, to within ten minutes; null if never.",
        nullable=True,
    ),
)
# Shown for tokens with bounds only.
_BOUNDS_OUT: dict[str, Any] = {"bounds": BOUNDS, "renew_by": RENEW_BY}
TOKEN_OUT["properties"] |= _BOUNDS_OUT
NEW_TOKEN_OUT = closed(
    **{k: v for k, v in TOKEN_OUT["properties"].items() if k not in _BOUNDS_OUT},
    token=text("The token itself. It is shown in this answer and never again."),
)
NEW_TOKEN_OUT["properties"] |= _BOUNDS_OUT
TOKEN_IN = _optional_object(
    name=text("What the token is for, so that you recognise it.", maxLength=100),
    **optional({"scope": _scope("That of the calling token if absent, and no more.")}),
    expires_in={
        "type": "integer",
        "minimum": 1,
        "maximum": 2**31 - 1,
        "nullable": True,
        "description": "Seconds until the token ends. It never outlives the calling token.",
    },
    user=text(
        "The name of the user who gets the token; yourself if absent. Another user "
        "needs an administrator's token of scope admin.",
        nullable=True,
    ),
    bounds=BOUNDS | {"nullable": True},
)
OVERLAP_IN = _optional_object(
    overlap_seconds=count(
        "The number of seconds for which the old one stays valid: a day if absent, 0 "
        "to end it at once.",
        maximum=MAX_OVERLAP,
        nullable=True,
    )
)
USER_OUT = closed(
    name=text("The name of the user in the tenant."),
    username=text("The name in the whole service: the user's, `@`, the tenant's."),
    role=_ROLE,
    is_active=_IS_ACTIVE,
    created_at=_when("When the user was added."),
)
_USER_NAME = {"type": "string", "minLength": 1, "maxLength": 150}
USER_IN = {
    **_optional_object(
        name=_USER_NAME
        | {"description": "The name of the user, unique in the tenant."},
        **optional({"role": _ROLE}),
    ),
    "required": ["name"],
}
USER_CHANGE_IN = _optional_object(**optional({"role": _ROLE, "is_active": _IS_ACTIVE}))
TRANSFER_IN = {
    **_optional_object(
        to=_USER_NAME | {"description": "The name of the user who gets the tasks."}
    ),
    "required": ["to"],
}
TRANSFER_OUT = closed(
    message=DONE_MESSAGE,
    count=count("How many tasks were handed over, ended ones included."),
)
SECRET_OUT = closed(
    id=text("A fingerprint of the secret, to recognise it by."),
    created_at=_when("Since when the service signs requests with it."),
    expires_at=_when(
        "Until when the service signs requests with it; null for the newest one.",
        nullable=True,
    ),
    is_readable={
        "type": "boolean",
        "description": "Whether the service can decrypt it; if not, an operator lost a key.",
    },
)
SECRETS_OUT = closed(
    secrets={
        "type": "array",
        "description": "The secrets that sign requests, the newest first.",
        "items": SECRET_OUT,
    }
)
NEW_SECRET_OUT = closed(
    id=text("A fingerprint of the secret, to recognise it by."),
    secret=text("The secret itself. It is shown in this answer and never again."),
)
ENTRY_OUT = closed(
    id=text("The id of the entry."),
    at=_when("When the change was made."),
    actor=text("Who made the change: a username, or the service itself."),
    via=text(
        "How the change was made: by the API, in the admin, from the command line, on "
        "the pages, or by the service itself.",
        enum=["api", "admin", "cli", "console", "service"],
    ),
    token=text(
        "The prefix of the token that made the change; empty if there was none."
    ),
    action=text("What was done, such as `task.pause`."),
    objects={
        "type": "array",
        "description": "The changed objects: ids, or names of users.",
        "items": {"type": "string"},
    },
    changes={
        "type": "object",
        "description": "Each field that was changed. `…` stands for secrets.",
        "additionalProperties": closed(
            **{
                "from": {"description": "What the field was before the change."},
                "to": {"description": "What the field is after the change."},
            }
        ),
    },
)

NOW = "2026-11-21T10:00:00Z"
TOKEN = {
    "id": "f6d0ad2f-9f2c-4c51-a8a0-6b3e2f6f7c11",
    "user": "ann",
    "name": "deploy",
    "prefix": "sch_7_Zk3vQ2aB",
    "scope": "write",
    "created_at": NOW,
    "expires_at": "2027-02-19T10:00:00Z",
    "revoked_at": None,
    "last_used_at": None,
}
NEW_TOKEN = {**TOKEN, "token": "sch_7_Zk3vQ2aB…"}
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
    "token": "sch_7_Zk3vQ2aB",
    "action": "user.change",
    "objects": ["bob"],
    "changes": {"role": {"from": "member", "to": "admin"}},
}

_QUOTA_OUT = closed(
    quota=text(
        "What is bounded.",
        enum=["tasks", "runs_per_day", "payload_bytes", "requests_per_minute"],
    ),
    limit=count("The most there may be; null if there is no quota.", nullable=True),
    used=count("What is used of it; null if it is not counted.", nullable=True),
    resets_at=_when("When it is counted anew; null if never.", nullable=True),
)
_QUOTAS_OUT = {
    "type": "array",
    "items": _QUOTA_OUT,
    "description": "Each quota, also those that are not set.",
}
USAGE_OUT = closed(
    plan=text("The name of the tenant's plan; null if it has none.", nullable=True),
    quotas=_QUOTAS_OUT,
    token=closed(
        renew_by=RENEW_BY | {"nullable": True},
        quotas=_QUOTAS_OUT,
    )
    | {
        "nullable": True,
        "description": "The quotas of the calling token; null if it has no bounds.",
    },
)
USAGE: dict[str, Any] = {
    "plan": "starter",
    "quotas": [
        {"quota": "tasks", "limit": 1000, "used": 12, "resets_at": None},
        {
            "quota": "runs_per_day",
            "limit": 10000,
            "used": 240,
            "resets_at": "2026-12-02T00:00:00Z",
        },
        {"quota": "payload_bytes", "limit": None, "used": None, "resets_at": None},
        {
            "quota": "requests_per_minute",
            "limit": 600,
            "used": 3,
            "resets_at": "2026-12-01T12:01:00Z",
        },
    ],
    "token": None,
}
