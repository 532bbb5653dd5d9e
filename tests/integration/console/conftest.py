"""People with passwords, for the tests of the pages."""

from __future__ import annotations

import pytest
from django.core.cache import cache

from accounts import services as accounts
from accounts.models import Role, User
from tests.integration.support.logins import PASSWORD


@pytest.fixture(autouse=True)
def _forget_limits() -> None:
    cache.clear()


@pytest.fixture
def ann(user: User) -> User:
    user.set_password(PASSWORD)
    user.save()
    return user


@pytest.fixture
def root(db: None) -> User:
    return User.objects.create_superuser("root", password=PASSWORD)


@pytest.fixture
def viewer(user: User) -> User:
    """A viewer of Alpha."""
    assert user.tenant is not None
    viewer = accounts.add_user(user.tenant, "vera")
    return accounts.change_user(viewer, role=Role.VIEWER)
