"""Paths of pages with names of ids in them, such as `/app/tasks/{task}/`."""

from __future__ import annotations

from collections import defaultdict
from urllib.parse import urlsplit

from django.urls import Resolver404, resolve

ANY_ID = "00000000-0000-0000-0000-000000000000"


def has_page(path: str) -> bool:
    """Whether a path is routed, whatever the ids in it are."""
    try:
        resolve(urlsplit(path).path.format_map(defaultdict(lambda: ANY_ID)))
    except Resolver404:
        return False
    return True
