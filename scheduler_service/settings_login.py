"""The settings of users and of their login."""

from __future__ import annotations

from typing import Any

from scheduler_service.environment import DEVELOPMENT, env

AUTH_USER_MODEL = "accounts.User"
# Called with a user who was activated or deactivated; see accounts.activity.
ACCOUNTS_ACTIVITY_HANDLER = "tasks_api.services.owners.follow_activity"
AUTH_PASSWORD_VALIDATORS = [
    {"NAME": "django.contrib.auth.password_validation.MinimumLengthValidator"},
    {"NAME": "django.contrib.auth.password_validation.CommonPasswordValidator"},
]

# How people log in: a password, a second factor, or the tenant's identity provider.
AUTHENTICATION_BACKENDS = ["accounts.access.login.LoginBackend"]
LOGIN_URL = "account_login"
LOGIN_REDIRECT_URL = "console-overview"
LOGOUT_REDIRECT_URL = "account_login"
CSRF_FAILURE_VIEW = "console.pages.csrf_failure"
ACCOUNT_ADAPTER = "accounts.access.login.AccountAdapter"
ACCOUNT_LOGIN_METHODS = {"username", "email"}
ACCOUNT_SIGNUP_FIELDS = ["email", "username*", "password1*", "password2*"]
ACCOUNT_EMAIL_VERIFICATION = "none"
ACCOUNT_CHANGE_EMAIL = True
ACCOUNT_EMAIL_UNKNOWN_ACCOUNTS = False
ACCOUNT_FORMS = {"reset_password": "accounts.access.login.PasswordResetForm"}
ACCOUNT_EMAIL_SUBJECT_PREFIX = "[Scheduler] "
ACCOUNT_SESSION_REMEMBER = True
# Whoever finds a browser open cannot take the account over by another address.
ACCOUNT_REAUTHENTICATION_REQUIRED = True
ACCOUNT_REAUTHENTICATION_METHODS = {"password", "mfa"}
ACCOUNT_DEFAULT_HTTP_PROTOCOL = "http" if DEVELOPMENT else "https"
# `accounts.throttling` limits passwords; `login_failed` here limits second factors.
ACCOUNT_RATE_LIMITS = {"login": False}
MFA_ADAPTER = "accounts.access.login.SecondFactorAdapter"
MFA_SUPPORTED_TYPES = ["totp", "webauthn", "recovery_codes"]
MFA_PASSKEY_LOGIN_ENABLED = True
MFA_ALLOW_UNVERIFIED_EMAIL = True
MFA_TOTP_ISSUER = "Scheduler"
# A code is valid for half a minute more, because clocks differ.
MFA_TOTP_TOLERANCE = 1
# Browsers offer passkeys without TLS on loopback only.
MFA_WEBAUTHN_ALLOW_INSECURE_ORIGIN = DEVELOPMENT
USERSESSIONS_ADAPTER = "accounts.access.sign_in_log.SessionsAdapter"
SCHEDULER_INVITATION_DAYS = env.int("SCHEDULER_INVITATION_DAYS", 7)

# An identity provider that speaks OpenID Connect. OIDC_DOMAINS says which tenant and which
# role the people of a domain have: example.org=acme:member.
OIDC_ISSUER = env.str("OIDC_ISSUER", "")
OIDC_NAME = env.str("OIDC_NAME", "single sign-on")
OIDC_DOMAINS = env.list("OIDC_DOMAINS", default=[])
SOCIALACCOUNT_ADAPTER = "accounts.access.single_sign_on.IdentityProviderAdapter"
SOCIALACCOUNT_EMAIL_VERIFICATION = "none"
# A form that leads to another site would break the pages' Content-Security-Policy.
SOCIALACCOUNT_LOGIN_ON_GET = True
SOCIALACCOUNT_STORE_TOKENS = False
SOCIALACCOUNT_PROVIDERS: dict[str, Any] = {
    "openid_connect": {
        "OAUTH_PKCE_ENABLED": True,
        "APPS": [
            {
                "provider_id": "oidc",
                "name": OIDC_NAME,
                "client_id": env.str("OIDC_CLIENT_ID", ""),
                "secret": env.str("OIDC_CLIENT_SECRET", ""),
                "settings": {
                    "server_url": OIDC_ISSUER,
                    # For providers that verify addresses and do not say so.
                    "verified_email": env.bool("OIDC_TRUST_EMAILS", False),
                },
            }
        ]
        if OIDC_ISSUER
        else [],
    }
}
