"""A registry for the checks of tenants' URLs, which the app that calls them fills."""

from __future__ import annotations

from collections.abc import Callable

# Each returns a sentence if the URL may not be called. The accounts do not know who will
# call it, so that app adds its checks.
URL_CHECKS: list[Callable[[str], str | None]] = []
