"""Seal texts that must be had in clear again, with the keys of the signing secrets.

Encrypted (Fernet) under a key that comes of SECRET_KEY. What a former key sealed opens as
long as that key stands in SECRET_KEY_FALLBACKS.
"""

from __future__ import annotations

from typing import Any

from cryptography.fernet import Fernet, InvalidToken, MultiFernet

from accounts.models import SigningSecret


def seal(text: str) -> str:
    """ASCII that tells nothing of the text but its length."""
    return _keys().encrypt(text.encode()).decode()


def unseal(sealed: str) -> str:
    """The text. Raises ValueError where no key that we have opens it."""
    try:
        return _keys().decrypt(sealed).decode()
    except InvalidToken:
        raise ValueError("SECRET_KEY does not open what was sealed") from None


def _keys() -> Fernet | MultiFernet:
    # The field derives them once, which is slow on purpose.
    field: Any = SigningSecret._meta.get_field("secret")
    keys: Fernet | MultiFernet = field.f
    return keys
