"""What the fields of lanes may be."""

from __future__ import annotations

import re

MAX_NAME_LENGTH = 100
NAME = re.compile(rf"[A-Za-z0-9._-]{{1,{MAX_NAME_LENGTH}}}")
NAME_RULE = f"should have 1 to {MAX_NAME_LENGTH} of A-Z, a-z, 0-9, ., - and _"
MAX_HOST_LENGTH = 255
# A host, and a port if the URLs have one, as they are written in URLs.
HOST = re.compile(r"(?:\[[0-9A-Fa-f:.]+\]|[^\s/?#@:\[\]]+)(?::[0-9]{1,5})?")
HOST_RULE = "should be a host as in URLs, such as api.example.com or localhost:8000"
MAX_RATE = 100_000
MAX_CONCURRENCY = 100_000
MAX_BREAKER_AFTER = 1000
# Seconds.
MAX_BREAKER_FOR = 24 * 3600
DEFAULT_BREAKER_FOR = 30


def is_name(text: str) -> bool:
    return NAME.fullmatch(text) is not None


def is_host(text: str) -> bool:
    return len(text) <= MAX_HOST_LENGTH and HOST.fullmatch(text) is not None
