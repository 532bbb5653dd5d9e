"""The URLs of the settings."""

from __future__ import annotations

from console.routes import ID, change, route
from console.settings import (
    audit_log,
    channels,
    members,
    notifications,
    retention,
    rules,
    signing_secrets,
    tokens,
    usage,
)

# A name may have a slash in it.
_MEMBER = r"app/settings/members/(?P<name>.+)"

_member_urls = [
    route("app/settings/members", members.members, "console-members"),
    route(f"{_MEMBER}/invite", members.invite_member, "console-invite-member"),
    route(f"{_MEMBER}/role", members.change_role, "console-change-role"),
    route(f"{_MEMBER}/deactivate", members.deactivate, "console-deactivate"),
    route(f"{_MEMBER}/activate", members.activate, "console-activate"),
    route(
        rf"app/settings/invitations/(?P<invitation_id>{ID})/revoke",
        members.revoke,
        "console-revoke-invitation",
    ),
]

_TOKEN = rf"app/settings/tokens/(?P<token_id>{ID})"
_token_urls = [
    route("app/settings/tokens", tokens.tokens, "console-tokens"),
    change("app/settings/tokens/new", tokens.new_token, "console-new-token"),
    route(_TOKEN, tokens.token, "console-token"),
    change(f"{_TOKEN}/renew", tokens.renew_token, "console-renew-token"),
    change(f"{_TOKEN}/rotate", tokens.rotate_token, "console-rotate-token"),
    change(f"{_TOKEN}/revoke", tokens.revoke_token, "console-revoke-token"),
]

_SECRETS = "app/settings/signing-secrets"
_secret_urls = [
    route(_SECRETS, signing_secrets.signing_secrets, "console-signing-secrets"),
    change(
        f"{_SECRETS}/rotate",
        signing_secrets.rotate_signing_secret,
        "console-rotate-signing-secret",
    ),
    route(
        f"{_SECRETS}/check", signing_secrets.check_signature, "console-check-signature"
    ),
]

_NOTIFICATIONS = "app/settings/notifications"
_CHANNEL = rf"{_NOTIFICATIONS}/channels/(?P<channel_id>{ID})"
_RULE = rf"{_NOTIFICATIONS}/rules/(?P<rule_id>{ID})"
_notification_urls = [
    route(_NOTIFICATIONS, notifications.notifications, "console-notifications"),
    change(
        f"{_NOTIFICATIONS}/channels/new", channels.new_channel, "console-new-channel"
    ),
    change(f"{_CHANNEL}/edit", channels.edit_channel, "console-edit-channel"),
    change(f"{_CHANNEL}/test", channels.test_channel, "console-test-channel"),
    change(f"{_CHANNEL}/remove", channels.remove_channel, "console-remove-channel"),
    change(f"{_NOTIFICATIONS}/rules/new", rules.new_rule, "console-new-rule"),
    change(f"{_RULE}/edit", rules.edit_rule, "console-edit-rule"),
    change(f"{_RULE}/remove", rules.remove_rule, "console-remove-rule"),
]

_report_urls = [
    route("app/settings/usage", usage.usage, "console-usage"),
    route("app/settings/audit", audit_log.audit_log, "console-audit"),
    route("app/settings/retention", retention.retention, "console-retention"),
]

urlpatterns = [
    *_member_urls,
    *_token_urls,
    *_secret_urls,
    *_notification_urls,
    *_report_urls,
]
