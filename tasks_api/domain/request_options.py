"""Read what a task's request has beyond the defaults, as the task's row stores it."""

from __future__ import annotations

import json
import re
from dataclasses import replace
from functools import lru_cache

from tasks_api.domain.specs import BodyForm, RequestOptions


def parse_options(text: str) -> RequestOptions:
    """What a task's request has beyond the usual, as it was stored."""
    sealed, options = split_sealed_values(text)
    return replace(options, sealed_values=sealed)


def split_sealed_values(text: str) -> tuple[str, RequestOptions]:
    """The same in two parts: what is sealed differs in each task, and nothing else may."""
    found = _SEALED.search(text)
    if found is None:
        return "", _options(text)
    return found[1], _options(text[: found.start(1)] + text[found.end(1) :])


# Ciphertext has nothing that JSON escapes, and within a string the quotes would be.
_SEALED = re.compile(r'"sealed_values":\s*"([^"\\]*)"')


@lru_cache(maxsize=1000)
def _options(text: str) -> RequestOptions:
    stored = json.loads(text)
    form = stored.pop("form")
    names = tuple(stored.pop("header_names"))
    return RequestOptions(names, form=form and BodyForm(form), **stored)


def comparable(name: str) -> str:
    """What a header is called, however it is spelled.

    Targets behind CGI, WSGI and their kin see X-Some and x_some as the same variable.
    """
    return _NOT_ALPHANUMERIC.sub("-", name.lower())


_NOT_ALPHANUMERIC = re.compile("[^a-z0-9]")
