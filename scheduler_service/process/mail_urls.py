"""Read the URL of a mail server into Django's settings."""

from __future__ import annotations

from typing import NamedTuple

import environ
from django.core.exceptions import ImproperlyConfigured

NOWHERE = "dummymail://"


class MailServer(NamedTuple):
    """The settings of Django's mail backend, named as there without EMAIL_."""

    backend: str
    host: str
    port: int
    host_user: str
    host_password: str
    use_tls: bool
    use_ssl: bool


def parse(url: str) -> MailServer:
    """The server of a URL such as `smtp+tls://user:password@host:587`; empty is none.

    Raises ImproperlyConfigured, without the URL, which has a password.
    """
    try:
        found = environ.Env.email_url_config(url or NOWHERE)
    except (ImproperlyConfigured, ValueError):
        raise ImproperlyConfigured(
            "EMAIL_URL cannot be used: it is no URL such as smtp+tls://user:password@host:587."
        ) from None
    return MailServer(
        backend=found["EMAIL_BACKEND"],
        host=found["EMAIL_HOST"] or "localhost",
        port=found["EMAIL_PORT"] or 25,
        host_user=found["EMAIL_HOST_USER"] or "",
        host_password=found["EMAIL_HOST_PASSWORD"] or "",
        use_tls=found.get("EMAIL_USE_TLS", False),
        use_ssl=found.get("EMAIL_USE_SSL", False),
    )
