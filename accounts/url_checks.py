"""Why a URL of a tenant may not be called, from those who are to call it."""

from __future__ import annotations

from collections.abc import Callable

# Each gives a sentence, or None. Who calls is no business of accounts, so they sign up.
URL_CHECKS: list[Callable[[str], str | None]] = []
