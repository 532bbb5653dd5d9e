"""The refusals of moves, each a sentence for the operator."""

from __future__ import annotations

from accounts.services import AccountError


class MoveRefused(AccountError):
    """A tenant cannot move, or cannot move now."""
