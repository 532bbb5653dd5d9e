"""Secrets as they lie in the tables: encrypted under SECRET_KEY, opened by former keys too.

A column that is an EncryptedTextField encrypts and decrypts itself, with the same keys.
What `encrypt` made may lie within the text of a SealedTextField. `reencrypt` finds both by
their class.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from functools import lru_cache
from typing import Any, NamedTuple, TypeAlias

from cryptography.fernet import Fernet, InvalidToken, MultiFernet
from django.apps import apps
from django.conf import settings
from django.db import DatabaseError, connection
from django.db.models import Field, Model
from encrypted_fields.fields import EncryptedFieldMixin, EncryptedTextField

from accounts.fields import SealedTextField

# How every ciphertext begins: the version, and a time before the year 2106.
SEALED = "gAAAAA"
CIPHERTEXT = re.compile(rf"{SEALED}[0-9A-Za-z_-]+=*")
# Rows in one statement.
BITE = 500


class Unreadable(ValueError):
    """Neither SECRET_KEY nor one of SECRET_KEY_FALLBACKS opens it."""


def encrypt(clear_text: str) -> str:
    return _keys().encrypt(clear_text.encode()).decode()


def decrypt(stored: str) -> str:
    """What `encrypt` was given. Raises Unreadable where the key is gone."""
    try:
        return _keys().decrypt(stored.encode()).decode()
    except InvalidToken:
        raise Unreadable("SECRET_KEY does not open it.") from None


def is_sealed(value: str) -> bool:
    """Whether this is ciphertext: as such an encrypted column reads without its key."""
    return value.startswith(SEALED)


def derive_keys() -> None:
    """Do now what the first secret would wait for: a key is slow to derive on purpose."""
    _keys()
    for _, column in encrypted_columns():
        if isinstance(column, EncryptedFieldMixin):
            _ = column.f


def _keys() -> MultiFernet:
    return _key_ring(settings.SECRET_KEY, *settings.SECRET_KEY_FALLBACKS)


@lru_cache(maxsize=2)
def _key_ring(*secret_keys: str) -> MultiFernet:
    return MultiFernet(_ring(*secret_keys))


@lru_cache(maxsize=2)
def _ring(*secret_keys: str) -> list[Fernet]:
    """The newest first, derived from the settings as the columns do it."""
    return [Fernet(key) for key in EncryptedTextField().keys]


class Census(NamedTuple):
    """How the secrets in the tables are encrypted."""

    current: int = 0
    former: int = 0
    unreadable: int = 0

    def __add__(self, other: object) -> Census:
        assert isinstance(other, Census)
        return Census(*map(sum, zip(self, other, strict=True)))


Column: TypeAlias = EncryptedFieldMixin | SealedTextField


def encrypted_columns() -> Iterator[tuple[type[Model], Column]]:
    for model in apps.get_models():
        for field in model._meta.concrete_fields:
            if isinstance(field, EncryptedFieldMixin | SealedTextField):
                yield model, field


def reencrypt(*, write: bool = True, bite: int = BITE) -> Census:
    """Put what former keys encrypted under the current one, and count what there was.

    Of what is changed meanwhile, the change stays. Without `write` it only counts.
    """
    census = Census()
    for model, field in encrypted_columns():
        for rows in _bites(model, field, bite):
            census += _reencrypt(model, field, rows, write=write)
    return census


def unreadable() -> int | None:
    """How many secrets no key opens; None where the tables cannot be asked."""
    try:
        return reencrypt(write=False).unreadable
    except DatabaseError:
        return None


Row = tuple[Any, str]


def _bites(model: type[Model], field: Column, bite: int) -> Iterator[list[Row]]:
    table, key, column = _names(model, field)
    last: Any = None
    while True:
        with connection.cursor() as cursor:
            cursor.execute(
                f"SELECT {key}, {column} FROM {table} WHERE {column} <> ''"  # noqa: S608 (names of tables and columns)
                f" AND (%(last)s::text IS NULL OR {key} > %(last)s)"
                f" ORDER BY {key} LIMIT %(bite)s",
                {"last": last, "bite": bite},
            )
            rows = cursor.fetchall()
        if not rows:
            return
        yield rows
        last = rows[-1][0]


def _reencrypt(
    model: type[Model], field: Column, rows: list[Row], *, write: bool
) -> Census:
    newest, *_ = ring = _ring(settings.SECRET_KEY, *settings.SECRET_KEY_FALLBACKS)
    changed: list[tuple[Any, str, str]] = []
    lost = current = 0
    for key, stored in rows:
        sealed = CIPHERTEXT.findall(stored)
        if not sealed:
            lost += isinstance(field, EncryptedFieldMixin)
            continue
        if all(_opens(newest, ciphertext) for ciphertext in sealed):
            current += 1
            continue
        try:
            changed.append((key, stored, CIPHERTEXT.sub(_renewed(ring), stored)))
        except InvalidToken:
            lost += 1
    if changed and write:
        _write(model, field, changed)
    return Census(current, len(changed), lost)


def _renewed(ring: list[Fernet]) -> Callable[[re.Match[str]], str]:
    return lambda found: MultiFernet(ring).rotate(found[0]).decode()


def _opens(key: Fernet, stored: str) -> bool:
    try:
        key.decrypt(stored)
    except InvalidToken:
        return False
    return True


def _write(
    model: type[Model],
    field: Column,
    changed: list[tuple[Any, str, str]],
) -> None:
    table, key, column = _names(model, field)
    values = ", ".join(["(%s, %s, %s)"] * len(changed))
    with connection.cursor() as cursor:
        cursor.execute(
            f"UPDATE {table} SET {column} = new.value"  # noqa: S608 (names of tables and columns)
            f" FROM (VALUES {values}) AS new(id, before, value)"
            f" WHERE {table}.{key} = new.id AND {table}.{column} = new.before",
            [value for row in changed for value in row],
        )


def _names(model: type[Model], field: Column) -> tuple[str, str, str]:
    assert isinstance(field, Field)
    key, column = model._meta.pk.column, field.column
    assert key is not None
    assert column is not None
    quoted = connection.ops.quote_name
    return quoted(model._meta.db_table), quoted(key), quoted(column)
