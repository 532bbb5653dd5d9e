"""Tenants, users, tokens and the audit log in the Django admin, for operators.

No rule lives here; what a button does is a function of `accounts.services`.
"""

from __future__ import annotations

from accounts.admin import tokens, users

__all__ = ["tokens", "users"]
