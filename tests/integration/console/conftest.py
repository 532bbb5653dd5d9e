"""People with passwords, for the tests of the pages."""

from __future__ import annotations

import pytest
from django.core.cache import cache
from django.test import Client

from accounts import services as accounts
from accounts.models import Role, User
from tests.integration.support.logins import PASSWORD, browser_of


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


@pytest.fixture
def member(user: User) -> Client:
    """The browser of a member of Alpha."""
    return browser_of(user)


@pytest.fixture
def admin(tenant_admin: User) -> Client:
    """The browser of Alpha's administrator."""
    return browser_of(tenant_admin)
