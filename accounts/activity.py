"""Report activations and deactivations of users to the handler of another app."""

from __future__ import annotations

from django.conf import settings
from django.utils.module_loading import import_string

from accounts.models import User


def report_activity(user: User) -> None:
    """Call the function that `ACCOUNTS_ACTIVITY_HANDLER` names with the user.

    Belongs into the transaction that changes the user. The accounts do not know what
    users have, so the settings name the function, which this app may not import.
    """
    import_string(settings.ACCOUNTS_ACTIVITY_HANDLER)(user)
