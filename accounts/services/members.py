"""The users of a tenant, as its administrators see and change them."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

from allauth.mfa.models import Authenticator
from django.db.models import Exists, OuterRef

from accounts.models import Role, Tenant, User
from accounts.services.errors import OwnAccount, StaffAccount, UserUnknown
from accounts.services.users import change_user

PAGE_SIZE = 50


class MemberPage(NamedTuple):
    """Users by name, with `has_second_factor`; `after` is empty on the last page."""

    members: Sequence[User]
    after: str


def list_members(tenant: Tenant, *, after: str = "") -> MemberPage:
    """A page of the users of a tenant whose names come after a name."""
    factors = Authenticator.objects.filter(user=OuterRef("pk"))
    users = User.objects.filter(tenant=tenant, name__gt=after.replace("\0", ""))
    shown = users.annotate(has_second_factor=Exists(factors)).order_by("name")
    found = list(shown[: PAGE_SIZE + 1])
    is_last = len(found) <= PAGE_SIZE
    return MemberPage(
        found[:PAGE_SIZE], after="" if is_last else found[PAGE_SIZE - 1].name
    )


def find_member(tenant: Tenant, name: str) -> User:
    """The user of this name. Raises UserUnknown."""
    users = User.objects.filter(tenant=tenant)
    user = users.filter(name=name).first() if "\0" not in name else None
    if user is None:
        raise UserUnknown(f"There is no user {name}.")
    return user


def change_member(
    admin: User,
    user: User,
    *,
    role: Role | None = None,
    is_active: bool | None = None,
) -> User:
    """Change a user for an administrator of the same tenant.

    Raises OwnAccount or StaffAccount, so that an administrator always remains, and
    tenants do not shut out the people who run the service.
    """
    is_demotion = role not in (None, Role.ADMIN)
    if user == admin and (is_demotion or is_active is False):
        raise OwnAccount(
            "You cannot demote or deactivate yourself; ask another administrator"
        )
    if is_active is False and (user.is_staff or user.is_superuser):
        raise StaffAccount("Only the operators of the service may deactivate its staff")
    return change_user(user, role=role, is_active=is_active)
