"""Logins as a browser does them, with a password and the code of an app."""

from __future__ import annotations

from allauth.mfa.totp.internal.auth import (
    format_hotp_value,
    hotp_value,
    yield_hotp_counters_from_time,
)
from django.core.cache import cache
from django.test import Client

from accounts.models import User

PASSWORD = "a quiet river bends"


def browser_of(user: User, *, enforce_csrf_checks: bool = False) -> Client:
    """A browser in which a user is logged in."""
    browser = Client(enforce_csrf_checks=enforce_csrf_checks)
    browser.force_login(user)
    return browser


def log_in(client: Client, login: str, password: str = PASSWORD) -> str:
    """Where the login leads; empty if it is refused."""
    answer = client.post("/login/", {"login": login, "password": password})
    return answer["Location"] if answer.status_code == 302 else ""


def code_of(secret: str) -> str:
    """The code of this half minute: it is right for another one at least."""
    counters = list(yield_hotp_counters_from_time())
    now = counters[len(counters) // 2]
    return str(format_hotp_value(hotp_value(secret, now)))


def add_app(client: Client) -> str:
    """Set up an authenticator app for who is logged in; returns its secret."""
    client.post("/account/confirm", {"password": PASSWORD})
    page = client.get("/account/2fa/app/add")
    secret = str(page.context["form"].secret)
    assert secret in page.content.decode()
    answer = client.post("/account/2fa/app/add", {"code": code_of(secret)})
    assert answer.status_code == 302
    cache.clear()
    return secret
