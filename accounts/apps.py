"""Accounts as a Django application."""

from __future__ import annotations

from importlib import import_module

from django.apps import AppConfig


class AccountsConfig(AppConfig):
    name = "accounts"

    def ready(self) -> None:
        # Its functions follow signals of Django and of allauth.
        import_module("accounts.access.sign_in_log")
