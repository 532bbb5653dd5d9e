"""The accounts of a trial, and the text that `run` prints about the service."""

from __future__ import annotations

import os
import secrets
from io import StringIO

from django.conf import settings
from django.contrib.auth import get_user_model
from django.core.management import call_command
from django.urls import reverse

from scheduler_service.local.state_files import load_or_create_secret
from scheduler_service.management.flower_login import basic_auth
from scheduler_service.management.own_web import http_status, reachable_host

ADDRESSES = """
The service is ready.

  API      {api}/tasks/
  Docs     {api}/docs/
  Health   {api}/readyz
  Flower   {flower}/  (user and password: {flower_auth})
  Admin    {api}/admin/"""

PRODUCTION = (
    ADDRESSES
    + """

With SCHEDULER_ENV=production there is no demo account and no echo target
(SCHEDULER_ALLOW_PRIVATE_TARGETS={private}).
"""
)

DEMO = (
    ADDRESSES
    + """  (user admin, password: {password})
  Pages    {pages}
  Token    {token}  (tenant demo, user demo)

Paste one of these into another terminal; the requests show up below as "echo" lines.
The first makes a task that runs once, in five seconds:

curl -sS {api}/tasks/ -H 'Authorization: Bearer {token}' -d '{{"task_type": "one_time", "run_datetime": "'$(date -u -d '+5 seconds' +%FT%TZ)'", "url": "http://127.0.0.1:{echo}/once", "post_data": {{"hello": "world"}}}}'

The second makes one that runs every four seconds, for a minute:

curl -sS {api}/tasks/ -H 'Authorization: Bearer {token}' -d '{{"task_type": "periodic", "frequency": 4, "start_datetime": "'$(date -u -d '+4 seconds' +%FT%TZ)'", "end_datetime": "'$(date -u -d '+64 seconds' +%FT%TZ)'", "url": "http://127.0.0.1:{echo}/tick", "post_data": {{"hello": "again"}}}}'

Private addresses, such as the echo target's, are allowed because this is a trial
(SCHEDULER_ALLOW_PRIVATE_TARGETS={private}). Ctrl-C stops everything.
"""
)


def welcome_text(echo_port: int, password: str) -> str:
    if not settings.DEVELOPMENT:
        return PRODUCTION.format(**_addresses())
    return DEMO.format(
        **_addresses(),
        password=password,
        token=demo_token(),
        pages=_pages_entry(),
        echo=echo_port,
    )


def _addresses() -> dict[str, str]:
    host = reachable_host()
    return {
        "api": f"http://{host}:{settings.PORT}",
        "flower": f"http://{host}:{settings.FLOWER_PORT}",
        "flower_auth": basic_auth(),
        "private": private_targets(),
    }


def private_targets() -> str:
    return os.environ.get("SCHEDULER_ALLOW_PRIVATE_TARGETS") or str(
        int(settings.DEVELOPMENT)
    )


def provision_admin() -> str:
    """Make sure that the user `admin` can log in; returns the password."""
    stored = settings.STATE_DIR / "admin_password"
    is_lost = not stored.exists()
    password = load_or_create_secret(stored, lambda: secrets.token_urlsafe(12))
    user, created = get_user_model().objects.get_or_create(
        username="admin", defaults={"is_staff": True, "is_superuser": True}
    )
    if created or is_lost:
        user.set_password(password)
        user.save(update_fields=["password"])
    return password if user.check_password(password) else "the one you chose"


def _pages_entry() -> str:
    """How the first person gets to the pages: by an invitation, until it is accepted."""
    user = get_user_model().objects.filter(username="demo@demo").first()
    if user is not None and user.has_usable_password():
        path = reverse("account_login")
        return f"http://{reachable_host()}:{settings.PORT}{path}  (user demo@demo)"
    arguments = ("invite", "--tenant", "demo", "--user", "demo", "--role", "admin")
    return f"{_run_command(*arguments)}  (choose a password, once)"


def demo_token() -> str:
    """The stored token, or a new one if the API refuses it."""
    stored = settings.STATE_DIR / "demo_token"
    token = load_or_create_secret(stored, _issue_token)
    if http_status("/tasks/?limit=1", token) == 401:
        stored.unlink()
        token = load_or_create_secret(stored, _issue_token)
    return token


def _issue_token() -> str:
    return _run_command("issue_token", "--tenant", "demo", "--user", "demo")


def _run_command(*arguments: str) -> str:
    """What a command prints on standard output."""
    out = StringIO()
    call_command(*arguments, stdout=out, stderr=StringIO())
    return out.getvalue().strip()
