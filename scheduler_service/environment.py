"""The environment, from which the settings are read."""

from __future__ import annotations

from typing import Any, ClassVar

import environ
from django.core.exceptions import ImproperlyConfigured


class Environment(environ.Env):  # type: ignore[misc]  # the package has no types
    """The environment; its errors name the variable, and it records what was read."""

    read_names: ClassVar[set[str]] = set()

    def get_value(self, var: str, *args: Any, **kwargs: Any) -> Any:
        self.read_names.add(var)
        try:
            return super().get_value(var, *args, **kwargs)
        except ValueError as error:
            raise ImproperlyConfigured(f"{var} cannot be used: {error}.") from error


env = Environment()

# Development needs no configuration; production has no insecure defaults.
ENVIRONMENT = env.str("SCHEDULER_ENV", "development")
if ENVIRONMENT not in {"development", "production"}:
    raise ImproperlyConfigured(
        f"SCHEDULER_ENV is {ENVIRONMENT!r}; it may be development or production."
    )
DEVELOPMENT = ENVIRONMENT == "development"
