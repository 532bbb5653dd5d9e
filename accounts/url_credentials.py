"""Find, mask and replace the credentials in a URL, as in `http://ann:secret@host/`."""

from __future__ import annotations

import re
from collections.abc import Callable

# Shown instead of credentials; every reader of URLs takes it for a user name.
MASK = "***"
# Up to the last @ before path, query and fragment; also for PostgreSQL.
URL_PATTERN = "^https?://[^/?#]*@"
_PARTS = re.compile(r"\A(https?://)([^/?#]*)@", re.IGNORECASE)


def find(url: str) -> str | None:
    """The credentials as they are written, without the @; None if there are none."""
    found = _PARTS.match(url)
    return found and found[2]


def replace(url: str, by: Callable[[str], str]) -> str:
    """The URL with new credentials; a URL without any stays as it is."""
    return _PARTS.sub(lambda found: f"{found[1]}{by(found[2])}@", url, count=1)


def mask(url: str) -> str:
    """The URL without its credentials, which may be encrypted or not."""
    return replace(url, lambda _: MASK)
