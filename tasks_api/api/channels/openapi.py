"""The operations on channels and rules in the OpenAPI document."""

from __future__ import annotations

from drf_spectacular.utils import OpenApiParameter

from tasks_api.api import openapi
from tasks_api.api.channels.openapi_fields import (
    CHANNEL,
    CHANNEL_CHANGE_IN,
    CHANNEL_IN,
    CHANNEL_OUT,
    RULE,
    RULE_CHANGE_IN,
    RULE_IN,
    RULE_OUT,
    TEST_OUT,
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

NO_CHANNEL = openapi.error_response("Channel not found")
NO_RULE = openapi.error_response("Rule not found")
_CHANNEL_ID = openapi.path_parameter("channel_id", "The id of the channel.")
_RULE_ID = openapi.path_parameter("rule_id", "The id of the rule.")


_describe = describer(Product.CHANNELS)


def _location(text: str) -> OpenApiParameter:
    return openapi.response_header("Location", 201, text)


list_channels = _describe(
    "list_channels",
    "List the channels",
    "Returns the channels of your tenant, the newest first. Where a channel sends is "
    "shown to administrators only, and without its secrets.",
    {
        200: openapi.response(
            page_of("channels", CHANNEL_OUT, "The channels."),
            {"channels": [CHANNEL], "next_cursor": None},
            "Channels, the newest first.",
        ),
        400: BAD_LIMIT,
    },
    parameters=PAGING,
)
create_channel = _describe(
    "create_channel",
    "Create a channel",
    "Creates a channel. It sends nothing until a rule names it; `test` sends a message "
    "at once. This needs an administrator's token of scope admin. A name that is taken "
    "results in 409.",
    {
        201: openapi.response(CHANNEL_OUT, CHANNEL, "The channel."),
        400: openapi.error_response("Missing key: url"),
        409: openapi.error_response("There is a channel on call already"),
        413: TOO_LARGE,
    },
    parameters=[_location("The path of the new channel.")],
    **with_body(
        CHANNEL_IN,
        {
            "name": "on call",
            "kind": "slack",
            "url": "https://example.com/services/T0/B0",
        },
        answered=CHANNEL_OUT,
    ),
)
get_channel = _describe(
    "get_channel",
    "Get a channel",
    "Returns a channel of your tenant. An unknown id results in 404.",
    {200: openapi.response(CHANNEL_OUT, CHANNEL, "The channel."), 404: NO_CHANNEL},
    parameters=[_CHANNEL_ID],
)
change_channel = _describe(
    "change_channel",
    "Change a channel",
    "Changes the given fields of a channel. Its kind stays. A value that is masked as in "
    "a response keeps the present one. Messages that are under way use the new settings.",
    {
        200: openapi.response(CHANNEL_OUT, CHANNEL, "The channel as it is now."),
        400: openapi.error_response("A channel of kind email has no url"),
        404: NO_CHANNEL,
        409: openapi.error_response("There is a channel on call already"),
        413: TOO_LARGE,
    },
    parameters=[_CHANNEL_ID],
    **with_body(CHANNEL_CHANGE_IN, {"max_per_hour": 6}, answered=CHANNEL_OUT),
)
remove_channel = _describe(
    "remove_channel",
    "Remove a channel",
    "Removes a channel with its rules, and with the messages that were not sent yet.",
    {
        200: openapi.response(
            MESSAGE,
            {"message": "Channel has been removed successfully"},
            "The channel is gone.",
        ),
        404: NO_CHANNEL,
        409: openapi.error_response(
            "The operators of the service set the notification URL"
        ),
    },
    parameters=[_CHANNEL_ID],
)
test_channel = _describe(
    "test_channel",
    "Send a test message",
    "Sends a test message to the channel at once, whatever the rules say. It counts as "
    "one of the channel's messages of this hour; if none is left, the result is 409.",
    {
        202: openapi.response(
            TEST_OUT,
            {"task_id": RULE["id"], "message": "A test message is on its way"},
            "The message is sent like any other request.",
        ),
        404: NO_CHANNEL,
        409: openapi.error_response("The channel is paused"),
    },
    parameters=[_CHANNEL_ID],
)
list_rules = _describe(
    "list_rules",
    "List the rules",
    "Returns the rules of your tenant, the newest first: which events of which tasks are "
    "sent to which channel, and when.",
    {
        200: openapi.response(
            page_of("rules", RULE_OUT, "The rules."),
            {"rules": [RULE], "next_cursor": None},
            "Rules, the newest first.",
        ),
        400: BAD_LIMIT,
    },
    parameters=PAGING,
)
create_rule = _describe(
    "create_rule",
    "Create a rule",
    "Creates a rule for all tasks of the tenant, for those with a tag, or for one task. "
    "Workers follow it within five seconds. This needs an administrator's token of scope "
    "admin.",
    {
        201: openapi.response(RULE_OUT, RULE, "The rule."),
        400: openapi.error_response(
            "Invalid value of channel_id. There is no such channel"
        ),
        409: openapi.error_response("A tenant has at most 200 rules"),
        413: TOO_LARGE,
    },
    parameters=[_location("The path of the new rule.")],
    **with_body(
        RULE_IN,
        {name: RULE[name] for name in ("channel_id", "events", "tag", "quiet_hours")},
        answered=RULE_OUT,
    ),
)
get_rule = _describe(
    "get_rule",
    "Get a rule",
    "Returns a rule of your tenant. An unknown id results in 404.",
    {200: openapi.response(RULE_OUT, RULE, "The rule."), 404: NO_RULE},
    parameters=[_RULE_ID],
)
change_rule = _describe(
    "change_rule",
    "Change a rule",
    "Changes the given fields of a rule; null removes an optional one. Notices that "
    "wait to be sent keep their time.",
    {
        200: openapi.response(RULE_OUT, RULE, "The rule as it is now."),
        400: openapi.error_response("A rule is about a task or about a tag, not both"),
        404: NO_RULE,
        413: TOO_LARGE,
    },
    parameters=[_RULE_ID],
    **with_body(RULE_CHANGE_IN, {"paused": True}, answered=RULE_OUT),
)
remove_rule = _describe(
    "remove_rule",
    "Remove a rule",
    "Removes a rule. Its notices that wait to be sent are removed with it.",
    {
        200: openapi.response(
            MESSAGE,
            {"message": "Rule has been removed successfully"},
            "The rule is gone.",
        ),
        404: NO_RULE,
    },
    parameters=[_RULE_ID],
)
