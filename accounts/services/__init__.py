"""The operations of API, admin and commands on tenants, users, tokens and secrets.

Each change writes to the audit log in its own transaction.
"""

from __future__ import annotations

from accounts.services.errors import (
    AccountError,
    InvitationClosed,
    OwnAccount,
    StaffAccount,
    TokenUnknown,
    UserExists,
    UserUnknown,
)
from accounts.services.invitations import (
    accept_invitation,
    create_invitation,
    delete_old_invitations,
    find_invitation,
    invite_user,
    open_invitations,
    require_no_password,
    revoke_invitation,
)
from accounts.services.logins import (
    delete_expired_sessions,
    find_by_login,
    find_or_add_by_email,
    has_only_identity,
    remove_second_factors,
)
from accounts.services.members import (
    change_member,
    find_member,
    list_members,
)
from accounts.services.quotas import DeliveryLimits, load_delivery_limits
from accounts.services.rotation import DEFAULT_OVERLAP, MAX_OVERLAP
from accounts.services.routing import (
    join_directory,
    rename_tenant,
    reserve_tenant_id,
)
from accounts.services.signing_secrets import (
    Keyring,
    SecretSummary,
    fingerprint,
    list_signing_secrets,
    load_keyrings,
    load_signing_secrets,
    rotate_signing_secret,
)
from accounts.services.tenants import (
    audited_settings,
    check_shared_secret,
    configure_tenant,
    parse_callback_url,
    parse_notification_url,
)
from accounts.services.token_bounds import renew_bounds, show_bounds
from accounts.services.tokens import (
    create_token,
    find_token,
    issue_token,
    list_bounded_tokens,
    list_tokens,
    revoke_token,
    revoke_tokens,
    rotate_token,
)
from accounts.services.users import (
    add_user,
    change_user,
    compose_username,
    deactivate_user,
    find_user,
    name_in_audit,
    provision_user,
)

__all__ = [
    "DEFAULT_OVERLAP",
    "MAX_OVERLAP",
    "AccountError",
    "DeliveryLimits",
    "InvitationClosed",
    "Keyring",
    "OwnAccount",
    "SecretSummary",
    "StaffAccount",
    "TokenUnknown",
    "UserExists",
    "UserUnknown",
    "accept_invitation",
    "add_user",
    "audited_settings",
    "change_member",
    "change_user",
    "check_shared_secret",
    "compose_username",
    "configure_tenant",
    "create_invitation",
    "create_token",
    "deactivate_user",
    "delete_expired_sessions",
    "delete_old_invitations",
    "find_by_login",
    "find_invitation",
    "find_member",
    "find_or_add_by_email",
    "find_token",
    "find_user",
    "fingerprint",
    "has_only_identity",
    "invite_user",
    "issue_token",
    "join_directory",
    "list_bounded_tokens",
    "list_members",
    "list_signing_secrets",
    "list_tokens",
    "load_delivery_limits",
    "load_keyrings",
    "load_signing_secrets",
    "name_in_audit",
    "open_invitations",
    "parse_callback_url",
    "parse_notification_url",
    "provision_user",
    "remove_second_factors",
    "rename_tenant",
    "renew_bounds",
    "require_no_password",
    "reserve_tenant_id",
    "revoke_invitation",
    "revoke_token",
    "revoke_tokens",
    "rotate_signing_secret",
    "rotate_token",
    "show_bounds",
]
