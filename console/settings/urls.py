"""The URLs of the settings."""

from __future__ import annotations

from console.routes import ID, change, route
from console.settings import members, signing_secrets, tokens

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

urlpatterns = [*_member_urls, *_token_urls, *_secret_urls]
