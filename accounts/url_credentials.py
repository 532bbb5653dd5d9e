"""The credentials in a URL, `http://ann:secret@host/`: found, hidden, put in others' place."""

from __future__ import annotations

import re
from collections.abc import Callable

# What is shown in their place, which every reader of URLs takes for a user's name.
MASK = "***"
# As PostgreSQL has it, too: up to the last @ before path, query and fragment.
URL_PATTERN = "^https?://[^/?#]*@"
_PARTS = re.compile(r"\A(https?://)([^/?#]*)@", re.IGNORECASE)


def find_credentials(url: str) -> str | None:
    """As they were written, without their @; None where there are none."""
    found = _PARTS.match(url)
    return found and found[2]


def replace_credentials(url: str, by: Callable[[str], str]) -> str:
    """The same URL with others; one without credentials stays as it is."""
    return _PARTS.sub(lambda found: f"{found[1]}{by(found[2])}@", url, count=1)


def mask_credentials(url: str) -> str:
    """The URL as anybody may read it, however its credentials are stored."""
    return replace_credentials(url, lambda _: MASK)
