"""Read the options of a task's request, as the task's row stores them."""

from __future__ import annotations

import json
import re
from dataclasses import replace
from functools import lru_cache

from tasks_api.domain.specs import BodyForm, RequestOptions

JSON_TYPE = "application/json"
# A body has no defined meaning in them (RFC 9110, 9.3.1 and 9.3.2).
METHODS_WITHOUT_BODY = frozenset({"GET", "HEAD"})


def parse_options(text: str) -> RequestOptions:
    """Read the stored options of a request."""
    sealed, options = split_sealed_values(text)
    return replace(options, sealed_values=sealed)


def split_sealed_values(text: str) -> tuple[str, RequestOptions]:
    """Return the sealed values, and the options that many tasks have in common."""
    found = _SEALED.search(text)
    if found is None:
        return "", _options(text)
    return found[1], _options(text[: found.start(1)] + text[found.end(1) :])


# Ciphertext needs no escapes in JSON, and inside a string the quotes would be escaped.
_SEALED = re.compile(r'"sealed_values":\s*"([^"\\]*)"')


@lru_cache(maxsize=1000)
def _options(text: str) -> RequestOptions:
    stored = json.loads(text)
    form = stored.pop("form")
    names = tuple(stored.pop("header_names"))
    return RequestOptions(names, form=form and BodyForm(form), **stored)


def comparable(name: str) -> str:
    """Return one spelling for all spellings of a header's name.

    Targets behind CGI or WSGI see X-Some and x_some as the same variable.
    """
    return _NOT_ALPHANUMERIC.sub("-", name.lower())


_NOT_ALPHANUMERIC = re.compile("[^a-z0-9]")
