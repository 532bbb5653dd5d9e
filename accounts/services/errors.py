"""The refusals of the accounts."""

from __future__ import annotations


class AccountError(Exception):
    """A request is refused; the text tells a person what to do about it."""


class UserExists(AccountError):
    """Another user of the tenant has the name."""
