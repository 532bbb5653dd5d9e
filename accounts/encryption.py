"""Seal stored secrets with SECRET_KEY, and read those sealed with former keys.

An EncryptedTextField encrypts and decrypts its values itself, with the same keys. A
SealedTextField holds texts with ciphertexts of `encrypt` in them, and a SealedUrlField
holds URLs of `seal_url`. `reencrypt` finds the columns by these classes, and the second
factors, which a package stores, by the names of their model and field.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from functools import lru_cache
from typing import Any, NamedTuple, TypeAlias

from cryptography.fernet import Fernet, InvalidToken, MultiFernet
from django.apps import apps
from django.conf import settings
from django.db import DatabaseError, connection
from django.db.models import Field, JSONField, Model
from encrypted_fields.fields import EncryptedFieldMixin, EncryptedTextField
from psycopg import sql

from accounts import statements, url_credentials
from accounts.fields import SealedTextField, SealedUrlField
from scheduler_service.db.statements import fetch_all

# The beginning of every ciphertext: the version, and a time before the year 2106.
CIPHERTEXT_PREFIX = "gAAAAA"
CIPHERTEXT = re.compile(rf"{CIPHERTEXT_PREFIX}[0-9A-Za-z_-]+=*")
# Rows in one statement.
BATCH_SIZE = 500


class Undecryptable(ValueError):
    """Neither SECRET_KEY nor one of SECRET_KEY_FALLBACKS decrypts the value."""


def encrypt(clear_text: str) -> str:
    return _keys().encrypt(clear_text.encode()).decode()


def decrypt(stored: str) -> str:
    """What `encrypt` was given. Raises Undecryptable if the key is gone."""
    try:
        return _keys().decrypt(stored.encode()).decode()
    except InvalidToken:
        raise Undecryptable("SECRET_KEY does not open it.") from None


def is_sealed(value: str) -> bool:
    """Whether this is a ciphertext, as an encrypted column returns it without its key."""
    return value.startswith(CIPHERTEXT_PREFIX)


def seal_url(url: str) -> str:
    """The URL with its credentials encrypted in place, if it has any."""
    return url_credentials.replace(url, encrypt)


def open_url(stored: str) -> str:
    """What `seal_url` was given. Raises Undecryptable if the key is gone.

    A URL that was stored before credentials were encrypted stays as it is.
    """
    return url_credentials.replace(
        stored, lambda found: decrypt(found) if _is_ciphertext(found) else found
    )


def is_same_url(stored: str, other: str) -> bool:
    """Whether two URLs are the same in clear. Encrypting one twice gives two texts."""
    if stored == other:
        return True
    if url_credentials.mask(stored) != url_credentials.mask(other):
        return False
    try:
        return open_url(stored) == open_url(other)
    except Undecryptable:
        return False


def _is_ciphertext(text: str) -> bool:
    return CIPHERTEXT.fullmatch(text) is not None


def derive_keys() -> None:
    """Derive the keys now, which is slow on purpose, and not at the first secret."""
    _keys()
    for _, column in encrypted_columns():
        if isinstance(column, EncryptedFieldMixin):
            _ = column.f


def _keys() -> MultiFernet:
    return _multi_fernet(settings.SECRET_KEY, *settings.SECRET_KEY_FALLBACKS)


@lru_cache(maxsize=2)
def _multi_fernet(*secret_keys: str) -> MultiFernet:
    return MultiFernet(_fernets(*secret_keys))


@lru_cache(maxsize=2)
def _fernets(*secret_keys: str) -> list[Fernet]:
    """The keys, the newest first, derived as the encrypted columns derive them."""
    return [Fernet(key) for key in EncryptedTextField().keys]


class SecretCounts(NamedTuple):
    """How many stored secrets there are, by the key that decrypts them."""

    current: int = 0
    former: int = 0
    unreadable: int = 0
    # URLs whose credentials are not encrypted yet.
    clear: int = 0

    def __add__(self, other: object) -> SecretCounts:
        assert isinstance(other, SecretCounts)
        return SecretCounts(*map(sum, zip(self, other, strict=True)))


Column: TypeAlias = EncryptedFieldMixin | SealedTextField | JSONField
SECOND_FACTORS = "mfa.Authenticator", "data"


def encrypted_columns() -> Iterator[tuple[type[Model], Column]]:
    for model in apps.get_models():
        for field in model._meta.concrete_fields:
            is_factor = (model._meta.label, field.name) == SECOND_FACTORS
            if is_factor or isinstance(field, EncryptedFieldMixin | SealedTextField):
                yield model, field


def reencrypt(
    columns: Iterable[tuple[type[Model], Column]] | None = None,
    *,
    write: bool = True,
    batch_size: int = BATCH_SIZE,
) -> SecretCounts:
    """Encrypt with the current key what former keys encrypted, and what is in clear.

    In these columns, or in all; returns how the values were stored. A value that changes
    meanwhile keeps the change. Without `write` it only counts.
    """
    counts = SecretCounts()
    for model, field in encrypted_columns() if columns is None else columns:
        for rows in _read_batches(model, field, batch_size):
            inspected = [_inspect(field, row) for row in rows]
            counts = sum((found for _, found in inspected), counts)
            if write:
                _write(model, field, [replacement for replacement, _ in inspected])
    return counts


def count_secrets() -> SecretCounts | None:
    """How the secrets are encrypted; None if the tables cannot be read."""
    try:
        return reencrypt(write=False)
    except DatabaseError:
        return None


class StoredValue(NamedTuple):
    """A value of an encrypted column, as it is in the table."""

    key: Any
    stored: str


class Replacement(NamedTuple):
    """What to store instead of a value that was read."""

    key: Any
    stored: str
    value: str


def _read_batches(
    model: type[Model], field: Column, batch_size: int
) -> Iterator[list[StoredValue]]:
    is_url = isinstance(field, SealedUrlField)
    template = statements.READ_URLS if is_url else statements.READ_VALUES
    statement = template.format(**_identifiers(model, field))
    values: dict[str, Any] = {
        "limit": batch_size,
        "pattern": url_credentials.URL_PATTERN,
        "last": None,
    }
    while True:
        with connection.cursor() as cursor:
            cursor.execute(statement, values)
            rows = fetch_all(cursor, StoredValue)
        if not rows:
            return
        yield rows
        values["last"] = rows[-1].key


def _inspect(field: Column, row: StoredValue) -> tuple[Replacement, SecretCounts]:
    """A value as it should be stored, and how it is stored."""
    value, counts = _renew_value(field, row.stored)
    return Replacement(*row, value), counts


def _renew_value(field: Column, stored: str) -> tuple[str, SecretCounts]:
    newest, *_ = keys = _fernets(settings.SECRET_KEY, *settings.SECRET_KEY_FALLBACKS)
    ciphertexts = _ciphertexts(field, stored)
    if not ciphertexts and isinstance(field, SealedUrlField):
        return seal_url(stored), SecretCounts(clear=1)
    if not ciphertexts:
        is_unreadable = isinstance(field, EncryptedFieldMixin)
        return stored, SecretCounts(unreadable=int(is_unreadable))
    if all(_opens(newest, ciphertext) for ciphertext in ciphertexts):
        return stored, SecretCounts(current=1)
    try:
        return _reencrypt_value(field, stored, MultiFernet(keys)), SecretCounts(
            former=1
        )
    except InvalidToken:
        return stored, SecretCounts(unreadable=1)


def _ciphertexts(field: Column, stored: str) -> list[str]:
    if not isinstance(field, SealedUrlField):
        return CIPHERTEXT.findall(stored)
    # What looks like a ciphertext elsewhere in a URL is the tenant's own text.
    found = url_credentials.find(stored) or ""
    return [found] if _is_ciphertext(found) else []


def _reencrypt_value(field: Column, stored: str, keys: MultiFernet) -> str:
    def renew(ciphertext: str) -> str:
        return keys.rotate(ciphertext).decode()

    if isinstance(field, SealedUrlField):
        return url_credentials.replace(stored, renew)
    return CIPHERTEXT.sub(lambda found: renew(found[0]), stored)


def _opens(key: Fernet, stored: str) -> bool:
    try:
        key.decrypt(stored)
    except InvalidToken:
        return False
    return True


def _write(model: type[Model], field: Column, rows: Iterable[Replacement]) -> None:
    changed = [row for row in rows if row.stored != row.value]
    if not changed:
        return
    keys, stored, values = (list(column) for column in zip(*changed, strict=True))
    key_type = model._meta.pk.rel_db_type(connection)
    statement = statements.REPLACE_VALUES.format(
        **_identifiers(model, field),
        key_type=sql.SQL(key_type),  # type: ignore[arg-type]  # Django's name of a type
        type=sql.SQL("jsonb" if isinstance(field, JSONField) else "text"),
    )
    with connection.cursor() as cursor:
        cursor.execute(statement, {"keys": keys, "stored": stored, "values": values})


def _identifiers(model: type[Model], field: Column) -> dict[str, sql.Identifier]:
    assert isinstance(field, Field)
    key, column = model._meta.pk.column, field.column
    assert key is not None
    assert column is not None
    return {
        "table": sql.Identifier(model._meta.db_table),
        "key": sql.Identifier(key),
        "column": sql.Identifier(column),
    }
