"""Tenants, users, tokens and the audit log in the Django admin, for operators.

No rule lives here; what a button does is a function of `accounts.services`.
"""

from __future__ import annotations

from django.apps import apps
from django.contrib import admin

from accounts.admin import plans, tokens, users

# Whoever could change the rows of these could log in as somebody with more rights.
LOGIN_APPS = ("account", "mfa", "socialaccount", "usersessions")
admin.site.unregister(
    model
    for label in LOGIN_APPS
    for model in apps.get_app_config(label).get_models()
    if admin.site.is_registered(model)
)

__all__ = ["plans", "tokens", "users"]
