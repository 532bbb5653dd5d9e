"""Fingerprints of plans: a plan is applied only as long as it is still the same."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Mapping
from typing import Any

import simplejson

from tasks_api.models import Task


def digest_of(request: Mapping[str, Any] | list[Any]) -> str:
    """Return a hash that is equal for requests that say the same."""
    text = simplejson.dumps(request, use_decimal=True, sort_keys=True)
    return hashlib.sha256(text.encode()).hexdigest()


def fingerprint_of(request: str, tasks: Iterable[Task]) -> str:
    """Return a hash of what a request says, and of the versions of the tasks it is about."""
    versions = [(task.pk.hex, task.version) for task in tasks]
    return hashlib.sha256(f"{request} {versions}".encode()).hexdigest()[:32]
