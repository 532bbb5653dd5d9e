"""Secrets as they lie in the tables: encrypted under SECRET_KEY, opened by former keys too.

A column that is an EncryptedTextField encrypts and decrypts itself, with the same keys.
What `encrypt` made may lie within the text of a SealedTextField, and what `seal_url` made
in a SealedUrlField. `reencrypt` finds them by their class.
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
from django.db.models import Field, Model
from encrypted_fields.fields import EncryptedFieldMixin, EncryptedTextField

from accounts import url_credentials
from accounts.fields import SealedTextField, SealedUrlField

# How every ciphertext begins: the version, and a time before the year 2106.
SEALED = "gAAAAA"
CIPHERTEXT = re.compile(rf"{SEALED}[0-9A-Za-z_-]+=*")
# Rows in one statement.
BATCH_SIZE = 500


class Undecryptable(ValueError):
    """Neither SECRET_KEY nor one of SECRET_KEY_FALLBACKS opens it."""


def encrypt(clear_text: str) -> str:
    return _keys().encrypt(clear_text.encode()).decode()


def decrypt(stored: str) -> str:
    """What `encrypt` was given. Raises Unreadable where the key is gone."""
    try:
        return _keys().decrypt(stored.encode()).decode()
    except InvalidToken:
        raise Undecryptable("SECRET_KEY does not open it.") from None


def is_sealed(value: str) -> bool:
    """Whether this is ciphertext: as such an encrypted column reads without its key."""
    return value.startswith(SEALED)


def seal_url(url: str) -> str:
    """As a URL is stored: its credentials, if it has any, encrypted where they stand."""
    return url_credentials.replace_credentials(url, encrypt)


def open_url(stored: str) -> str:
    """What `seal_url` was given. Raises Unreadable where the key is gone.

    One that was stored before its credentials were sealed is as it is.
    """
    return url_credentials.replace_credentials(
        stored, lambda found: decrypt(found) if _is_ciphertext(found) else found
    )


def is_same_url(stored: str, other: str) -> bool:
    """Whether two are the same in clear: sealed anew, the same one looks different."""
    if stored == other:
        return True
    if url_credentials.mask_credentials(stored) != url_credentials.mask_credentials(
        other
    ):
        return False
    try:
        return open_url(stored) == open_url(other)
    except Undecryptable:
        return False


def _is_ciphertext(text: str) -> bool:
    return CIPHERTEXT.fullmatch(text) is not None


def derive_keys() -> None:
    """Do now what the first secret would wait for: a key is slow to derive on purpose."""
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
    """The newest first, derived from the settings as the columns do it."""
    return [Fernet(key) for key in EncryptedTextField().keys]


class SecretCounts(NamedTuple):
    """How the secrets in the tables are encrypted."""

    current: int = 0
    former: int = 0
    unreadable: int = 0
    # Of URLs that were stored before their credentials were sealed.
    clear: int = 0

    def __add__(self, other: object) -> SecretCounts:
        assert isinstance(other, SecretCounts)
        return SecretCounts(*map(sum, zip(self, other, strict=True)))


Column: TypeAlias = EncryptedFieldMixin | SealedTextField


def encrypted_columns() -> Iterator[tuple[type[Model], Column]]:
    for model in apps.get_models():
        for field in model._meta.concrete_fields:
            if isinstance(field, EncryptedFieldMixin | SealedTextField):
                yield model, field


def reencrypt(
    columns: Iterable[tuple[type[Model], Column]] | None = None,
    *,
    write: bool = True,
    batch_size: int = BATCH_SIZE,
) -> SecretCounts:
    """Put what former keys encrypted, and what lies in clear, under the current one.

    In these columns, or in all; returns what there was. Of what is changed meanwhile, the
    change stays. Without `write` it only counts.
    """
    census = SecretCounts()
    for model, field in encrypted_columns() if columns is None else columns:
        for rows in _read_batches(model, field, batch_size):
            judged = [(key, stored, *_inspect(field, stored)) for key, stored in rows]
            census = sum((one for *_, one in judged), census)
            if write:
                _write(model, field, [each[:3] for each in judged])
    return census


def unseal_urls(
    columns: Iterable[tuple[type[Model], SealedUrlField]],
    *,
    batch_size: int = BATCH_SIZE,
) -> None:
    """Store URLs as former releases read them; those that no key opens stay."""
    for model, field in columns:
        for rows in _read_batches(model, field, batch_size):
            _write(model, field, [(k, stored, _in_clear(stored)) for k, stored in rows])


def _in_clear(stored: str) -> str:
    try:
        return open_url(stored)
    except Undecryptable:
        return stored


def count_secrets() -> SecretCounts | None:
    """How the secrets are encrypted; None where the tables cannot be asked."""
    try:
        return reencrypt(write=False)
    except DatabaseError:
        return None


Row = tuple[Any, str]


def _read_batches(
    model: type[Model], field: Column, batch_size: int
) -> Iterator[list[Row]]:
    table, key, column = _quote_names(model, field)
    holds = f"{column} <> ''"
    if isinstance(field, SealedUrlField):
        # The sign first: to look for it in each of a million rows is quick.
        holds = f"{column} LIKE %(at)s AND {column} ~* %(url)s"
    last: Any = None
    while True:
        with connection.cursor() as cursor:
            cursor.execute(
                f"SELECT {key}, {column} FROM {table} WHERE {holds}"  # noqa: S608 (names of tables and columns)
                f" AND (%(last)s::text IS NULL OR {key} > %(last)s)"
                f" ORDER BY {key} LIMIT %(batch_size)s",
                {
                    "last": last,
                    "batch_size": batch_size,
                    "at": "%@%",
                    "url": url_credentials.URL_PATTERN,
                },
            )
            rows = cursor.fetchall()
        if not rows:
            return
        yield rows
        last = rows[-1][0]


def _inspect(field: Column, stored: str) -> tuple[str, SecretCounts]:
    """A value as it should be stored, and how it is."""
    newest, *_ = ring = _fernets(settings.SECRET_KEY, *settings.SECRET_KEY_FALLBACKS)
    sealed = _ciphertexts(field, stored)
    if not sealed and isinstance(field, SealedUrlField):
        return seal_url(stored), SecretCounts(clear=1)
    if not sealed:
        return stored, SecretCounts(
            unreadable=int(isinstance(field, EncryptedFieldMixin))
        )
    if all(_opens(newest, ciphertext) for ciphertext in sealed):
        return stored, SecretCounts(current=1)
    try:
        return _reencrypt_value(field, stored, MultiFernet(ring)), SecretCounts(
            former=1
        )
    except InvalidToken:
        return stored, SecretCounts(unreadable=1)


def _ciphertexts(field: Column, stored: str) -> list[str]:
    if not isinstance(field, SealedUrlField):
        return CIPHERTEXT.findall(stored)
    # What looks like one elsewhere in a URL is the tenant's own text.
    found = url_credentials.find_credentials(stored) or ""
    return [found] if _is_ciphertext(found) else []


def _reencrypt_value(field: Column, stored: str, keys: MultiFernet) -> str:
    def renew(ciphertext: str) -> str:
        return keys.rotate(ciphertext).decode()

    if isinstance(field, SealedUrlField):
        return url_credentials.replace_credentials(stored, renew)
    return CIPHERTEXT.sub(lambda found: renew(found[0]), stored)


def _opens(key: Fernet, stored: str) -> bool:
    try:
        key.decrypt(stored)
    except InvalidToken:
        return False
    return True


def _write(
    model: type[Model], field: Column, rows: Iterable[tuple[Any, str, str]]
) -> None:
    """Write what differs, of rows with what was read and what is to be."""
    changed = [row for row in rows if row[1] != row[2]]
    if not changed:
        return
    table, key, column = _quote_names(model, field)
    values = ", ".join(["(%s, %s, %s)"] * len(changed))
    with connection.cursor() as cursor:
        cursor.execute(
            f"UPDATE {table} SET {column} = new.value"  # noqa: S608 (names of tables and columns)
            f" FROM (VALUES {values}) AS new(id, before, value)"
            f" WHERE {table}.{key} = new.id AND {table}.{column} = new.before",
            [value for row in changed for value in row],
        )


def _quote_names(model: type[Model], field: Column) -> tuple[str, str, str]:
    assert isinstance(field, Field)
    key, column = model._meta.pk.column, field.column
    assert key is not None
    assert column is not None
    quoted = connection.ops.quote_name
    return quoted(model._meta.db_table), quoted(key), quoted(column)
