"""The URLs of the login and of a person's account, by the names that allauth looks up."""

from __future__ import annotations

from allauth.account import views as login
from allauth.mfa.base import views as mfa
from allauth.mfa.recovery_codes import views as recovery_codes
from allauth.mfa.totp import views as totp
from allauth.mfa.webauthn import views as passkeys
from allauth.socialaccount import views as identities
from allauth.socialaccount.providers.openid_connect import views as openid_connect
from allauth.usersessions import views as sessions

from console import account, invitations
from console.routes import change, route

_login_urls = [
    route("login", login.login, "account_login"),
    route("login/passkey", passkeys.login_webauthn, "mfa_login_webauthn"),
    route("login/second-factor", mfa.authenticate, "mfa_authenticate"),
    route("login/inactive", login.account_inactive, "account_inactive"),
    route("login/closed", login.signup, "account_signup"),
    change("logout", login.logout, "account_logout"),
    route(r"invite/(?P<secret>[\w-]+)", invitations.accept, "invitation"),
    route("password/reset", login.password_reset, "account_reset_password"),
    route(
        "password/reset/sent", login.password_reset_done, "account_reset_password_done"
    ),
    change(
        r"password/reset/(?P<uidb36>[0-9A-Za-z]+)-(?P<key>[\w-]+)",
        login.password_reset_from_key,
        "account_reset_password_from_key",
    ),
    route(
        "password/reset/done",
        login.password_reset_from_key_done,
        "account_reset_password_from_key_done",
    ),
]

_identity_urls = [
    route(
        r"login/provider/(?P<provider_id>\w+)",
        openid_connect.login,
        "openid_connect_login",
    ),
    route(
        r"login/provider/(?P<provider_id>\w+)/callback",
        openid_connect.callback,
        "openid_connect_callback",
    ),
    route(
        "login/provider-cancelled",
        identities.login_cancelled,
        "socialaccount_login_cancelled",
    ),
    route("login/provider-error", identities.login_error, "socialaccount_login_error"),
]

_account_urls = [
    route("account/email", login.email, "account_email"),
    route(
        "account/email/sent",
        login.email_verification_sent,
        "account_email_verification_sent",
    ),
    change(
        r"account/email/(?P<key>[-:\w]+)", login.confirm_email, "account_confirm_email"
    ),
    change("account/password/change", login.password_change, "account_change_password"),
    change("account/password/set", account.choose_password, "account_set_password"),
    route("account/confirm", login.reauthenticate, "account_reauthenticate"),
    change("account/sessions", sessions.list_usersessions, "usersessions_list"),
    route("account/2fa", mfa.index, "mfa_index"),
    route("account/2fa/confirm", mfa.reauthenticate, "mfa_reauthenticate"),
    change("account/2fa/app/add", totp.activate_totp, "mfa_activate_totp"),
    change("account/2fa/app/remove", totp.deactivate_totp, "mfa_deactivate_totp"),
    route(
        "account/2fa/codes",
        recovery_codes.view_recovery_codes,
        "mfa_view_recovery_codes",
    ),
    change(
        "account/2fa/codes/new",
        recovery_codes.generate_recovery_codes,
        "mfa_generate_recovery_codes",
    ),
    route(
        "account/2fa/codes/download",
        recovery_codes.download_recovery_codes,
        "mfa_download_recovery_codes",
    ),
    route("account/2fa/keys", passkeys.list_webauthn, "mfa_list_webauthn"),
    change("account/2fa/keys/add", passkeys.add_webauthn, "mfa_add_webauthn"),
    route(
        "account/2fa/keys/confirm",
        passkeys.reauthenticate_webauthn,
        "mfa_reauthenticate_webauthn",
    ),
    change(
        r"account/2fa/keys/(?P<pk>\d+)/remove",
        passkeys.remove_webauthn,
        "mfa_remove_webauthn",
    ),
    change(
        r"account/2fa/keys/(?P<pk>\d+)/edit",
        passkeys.edit_webauthn,
        "mfa_edit_webauthn",
    ),
]

urlpatterns = [*_login_urls, *_identity_urls, *_account_urls]
