"""The URLs of the pages. Those of the login have the names that allauth looks up."""

from __future__ import annotations

from allauth.account import views as login
from allauth.mfa.base import views as mfa
from allauth.mfa.recovery_codes import views as recovery_codes
from allauth.mfa.totp import views as totp
from allauth.mfa.webauthn import views as passkeys
from allauth.socialaccount import views as identities
from allauth.socialaccount.providers.openid_connect import views as openid_connect
from allauth.usersessions import views as sessions
from django.urls import URLPattern, re_path

from console import account, invitations, members, overview
from console.pages import View, page

# A name may have a slash in it.
MEMBER = r"app/settings/members/(?P<name>.+)"


def _route(route: str, view: View, name: str, *, is_atomic: bool = False) -> URLPattern:
    return re_path(rf"^{route}/?\Z", page(view, is_atomic=is_atomic), name=name)


def _change(route: str, view: View, name: str) -> URLPattern:
    """A page whose change and audit entry are one transaction. It sends no mail."""
    return _route(route, view, name, is_atomic=True)


_login_urls = [
    _route("login", login.login, "account_login"),
    _route("login/passkey", passkeys.login_webauthn, "mfa_login_webauthn"),
    _route("login/second-factor", mfa.authenticate, "mfa_authenticate"),
    _route("login/inactive", login.account_inactive, "account_inactive"),
    _route("login/closed", login.signup, "account_signup"),
    _change("logout", login.logout, "account_logout"),
    _route(r"invite/(?P<secret>[\w-]+)", invitations.accept, "invitation"),
    _route("password/reset", login.password_reset, "account_reset_password"),
    _route(
        "password/reset/sent", login.password_reset_done, "account_reset_password_done"
    ),
    _change(
        r"password/reset/(?P<uidb36>[0-9A-Za-z]+)-(?P<key>[\w-]+)",
        login.password_reset_from_key,
        "account_reset_password_from_key",
    ),
    _route(
        "password/reset/done",
        login.password_reset_from_key_done,
        "account_reset_password_from_key_done",
    ),
]

_identity_urls = [
    _route(
        r"login/provider/(?P<provider_id>\w+)",
        openid_connect.login,
        "openid_connect_login",
    ),
    _route(
        r"login/provider/(?P<provider_id>\w+)/callback",
        openid_connect.callback,
        "openid_connect_callback",
    ),
    _route(
        "login/provider-cancelled",
        identities.login_cancelled,
        "socialaccount_login_cancelled",
    ),
    _route("login/provider-error", identities.login_error, "socialaccount_login_error"),
]

_account_urls = [
    _route("account/email", login.email, "account_email"),
    _route(
        "account/email/sent",
        login.email_verification_sent,
        "account_email_verification_sent",
    ),
    _change(
        r"account/email/(?P<key>[-:\w]+)", login.confirm_email, "account_confirm_email"
    ),
    _change(
        "account/password/change", login.password_change, "account_change_password"
    ),
    _change("account/password/set", account.choose_password, "account_set_password"),
    _route("account/confirm", login.reauthenticate, "account_reauthenticate"),
    _change("account/sessions", sessions.list_usersessions, "usersessions_list"),
    _route("account/2fa", mfa.index, "mfa_index"),
    _route("account/2fa/confirm", mfa.reauthenticate, "mfa_reauthenticate"),
    _change("account/2fa/app/add", totp.activate_totp, "mfa_activate_totp"),
    _change("account/2fa/app/remove", totp.deactivate_totp, "mfa_deactivate_totp"),
    _route(
        "account/2fa/codes",
        recovery_codes.view_recovery_codes,
        "mfa_view_recovery_codes",
    ),
    _change(
        "account/2fa/codes/new",
        recovery_codes.generate_recovery_codes,
        "mfa_generate_recovery_codes",
    ),
    _route(
        "account/2fa/codes/download",
        recovery_codes.download_recovery_codes,
        "mfa_download_recovery_codes",
    ),
    _route("account/2fa/keys", passkeys.list_webauthn, "mfa_list_webauthn"),
    _change("account/2fa/keys/add", passkeys.add_webauthn, "mfa_add_webauthn"),
    _route(
        "account/2fa/keys/confirm",
        passkeys.reauthenticate_webauthn,
        "mfa_reauthenticate_webauthn",
    ),
    _change(
        r"account/2fa/keys/(?P<pk>\d+)/remove",
        passkeys.remove_webauthn,
        "mfa_remove_webauthn",
    ),
    _change(
        r"account/2fa/keys/(?P<pk>\d+)/edit",
        passkeys.edit_webauthn,
        "mfa_edit_webauthn",
    ),
]

_tenant_urls = [
    _route("app", overview.overview, "console-overview"),
    _route("app/first-call", overview.issue_trial_token, "console-first-call"),
    _route("app/settings", account.settings_page, "console-settings"),
    _route("app/settings/members", members.members, "console-members"),
    _route(f"{MEMBER}/invite", members.invite_member, "console-invite-member"),
    _route(f"{MEMBER}/role", members.change_role, "console-change-role"),
    _route(f"{MEMBER}/deactivate", members.deactivate, "console-deactivate"),
    _route(f"{MEMBER}/activate", members.activate, "console-activate"),
    _route(
        r"app/settings/invitations/(?P<invitation_id>[0-9a-f-]{36})/revoke",
        members.revoke,
        "console-revoke-invitation",
    ),
]

urlpatterns = [*_login_urls, *_identity_urls, *_account_urls, *_tenant_urls]
