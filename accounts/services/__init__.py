"""The operations of API, admin and commands on tenants, users, tokens and secrets.

Each change writes to the audit log in its own transaction.
"""

from __future__ import annotations

from accounts.services.errors import AccountError, UserExists
from accounts.services.rotation import DEFAULT_OVERLAP, MAX_OVERLAP
from accounts.services.signing_secrets import (
    Keyring,
    fingerprint,
    load_keyrings,
    load_signing_secrets,
    rotate_signing_secret,
)
from accounts.services.tenants import (
    audited_settings,
    check_shared_secret,
    configure_tenant,
    load_tenant_limits,
    parse_callback_url,
    parse_notification_url,
)
from accounts.services.tokens import (
    create_token,
    issue_token,
    revoke_token,
    revoke_tokens,
    rotate_token,
)
from accounts.services.users import (
    add_user,
    change_user,
    compose_username,
    deactivate_user,
    delete_expired_sessions,
    find_user,
    name_in_audit,
    provision_user,
)

__all__ = [
    "DEFAULT_OVERLAP",
    "MAX_OVERLAP",
    "AccountError",
    "Keyring",
    "UserExists",
    "add_user",
    "audited_settings",
    "change_user",
    "check_shared_secret",
    "compose_username",
    "configure_tenant",
    "create_token",
    "deactivate_user",
    "delete_expired_sessions",
    "find_user",
    "fingerprint",
    "issue_token",
    "load_keyrings",
    "load_signing_secrets",
    "load_tenant_limits",
    "name_in_audit",
    "parse_callback_url",
    "parse_notification_url",
    "provision_user",
    "revoke_token",
    "revoke_tokens",
    "rotate_signing_secret",
    "rotate_token",
]
