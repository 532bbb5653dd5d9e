"""The other database of a move: open it, and let services work on it."""

from __future__ import annotations

import copy
import re
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from django.core.exceptions import ImproperlyConfigured
from django.db import DEFAULT_DB_ALIAS, OperationalError, connections
from django.db.backends.base.base import BaseDatabaseWrapper
from django.db.utils import load_backend
from environ import Env

from scheduler_service.db.timeouts import without_limits
from tasks_api.moving.errors import MoveRefused

ADDRESS = ("NAME", "USER", "PASSWORD", "HOST", "PORT")
# A URL may have these among its options as well.
ADDRESS_OPTIONS = ("host", "hostaddr", "port", "user", "password", "dbname")


def _parse(url: str) -> dict[str, Any]:
    try:
        config: dict[str, Any] = Env.db_url_config(url)
    except (ValueError, ImproperlyConfigured):
        config = {}
    if config.get("ENGINE") != "django.db.backends.postgresql" or not config["NAME"]:
        raise MoveRefused(
            "Say the URL of the other database: postgresql://user:password@host:5432/name"
        )
    return config


def name_of(url: str) -> str:
    """The name of a database for people, without its password."""
    config = _parse(url)
    options = config.get("OPTIONS", {})
    host = config.get("HOST") or options.get("host") or "localhost"
    port = config.get("PORT") or options.get("port") or 5432
    return re.sub(r"[^\w.:/,%-]", "?", f"{host}:{port}/{config['NAME']}")[:200]


@contextmanager
def open_database(url: str) -> Iterator[BaseDatabaseWrapper]:
    """A session in another database, with the options of our own and without limits.

    It may be the database of another cell.
    """
    engine = connections[DEFAULT_DB_ALIAS].settings_dict["ENGINE"]
    with _open(url, engine) as wrapper:
        yield wrapper


@contextmanager
def open_copy(url: str) -> Iterator[BaseDatabaseWrapper]:
    """A session in a copy of our own database that was promoted to be another one.

    It is on a newer timeline of our system. Our backend would tell all of our processes,
    which would take the database that they use for a former primary.
    """
    with _open(url, "django.db.backends.postgresql") as wrapper:
        yield wrapper


@contextmanager
def _open(url: str, engine: str) -> Iterator[BaseDatabaseWrapper]:
    found = _parse(url)
    config = copy.deepcopy(connections[DEFAULT_DB_ALIAS].settings_dict)
    config |= {name: found.get(name, "") for name in ADDRESS} | {"OF_ANY_CELL": True}
    own = config["OPTIONS"].items()
    options = {name: value for name, value in own if name not in ADDRESS_OPTIONS}
    config["OPTIONS"] = options | found.get("OPTIONS", {})
    backend: Any = load_backend(engine)
    wrapper: BaseDatabaseWrapper = backend.DatabaseWrapper(config, DEFAULT_DB_ALIAS)
    try:
        with without_limits(wrapper):
            yield wrapper
    except OperationalError as error:
        if wrapper.connection is None:
            raise MoveRefused(
                f"The database {name_of(url)} does not answer: {error}"
            ) from None
        raise
    finally:
        wrapper.close()


@contextmanager
def as_default(wrapper: BaseDatabaseWrapper) -> Iterator[None]:
    """Let everything that this thread does in the block happen in another database."""
    own = connections[DEFAULT_DB_ALIAS]
    connections[DEFAULT_DB_ALIAS] = wrapper
    try:
        yield
    finally:
        connections[DEFAULT_DB_ALIAS] = own
