"""What the tests of the wire formats share."""

from __future__ import annotations

import pytest
from django.conf import LazySettings
from rest_framework.test import APIClient

from accounts.models import User
from tests.conftest import ClientFor


@pytest.fixture
def api(user: User, client_for: ClientFor, settings: LazySettings) -> APIClient:
    """Alpha's user calling a service whose limits are those of production."""
    settings.SCHEDULER_MIN_FREQUENCY = 3600
    settings.SCHEDULER_ALLOW_PRIVATE_TARGETS = False
    return client_for(user)
