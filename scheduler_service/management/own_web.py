"""Send requests to the web process of this machine."""

from __future__ import annotations

import urllib.error
import urllib.request

from django.conf import settings


def reachable_host() -> str:
    host = {"0.0.0.0": "127.0.0.1", "::": "::1"}.get(settings.HOST, settings.HOST)  # noqa: S104 (replaced)
    return f"[{host}]" if ":" in host else host


def http_status(path: str, token: str = "") -> int:
    """The status that the web process answers with; 0 if it does not answer."""
    return status_of(f"http://{reachable_host()}:{settings.PORT}{path}", token)


def status_of(url: str, token: str = "") -> int:
    """The status that a server of this machine answers with; 0 if it does not answer."""
    headers = {"Authorization": f"Bearer {token}"} if token else {}
    request = urllib.request.Request(url, headers=headers)  # noqa: S310 (an address of ours)
    # No proxy from the environment: this is our own address.
    opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
    try:
        with opener.open(request, timeout=5) as response:
            return int(response.status)
    except urllib.error.HTTPError as error:
        return error.code
    except OSError:
        return 0


def is_web_ready() -> bool:
    return all(http_status(path) == 200 for path in ("/healthz", "/readyz"))
