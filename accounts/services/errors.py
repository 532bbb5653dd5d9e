"""The refusals of the accounts."""

from __future__ import annotations


class AccountError(Exception):
    """A request is refused; the text tells a person what to do about it."""


class UserExists(AccountError):
    """Another user of the tenant has the name."""


class UserUnknown(AccountError):
    """The tenant has no user of this name."""


class TokenUnknown(AccountError):
    """The user may see no token of this id."""


class OwnAccount(AccountError):
    """Administrators demote or deactivate everybody but themselves."""


class StaffAccount(AccountError):
    """Only operators change the accounts of the staff."""


class InvitationClosed(AccountError):
    """The invitation does not exist, was used or revoked, or has expired."""
