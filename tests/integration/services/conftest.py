"""What the tests of notices share."""

from __future__ import annotations

import pytest

from accounts.models import User
from tasks_api.models import Channel
from tests.integration.support.notices import make_channel


@pytest.fixture
def channel(user: User) -> Channel:
    return make_channel(user)
