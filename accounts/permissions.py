"""Who may call what: the scope of the token, the role of its user, the rank of staff."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, ClassVar

from django.contrib.auth.models import AnonymousUser
from rest_framework.permissions import SAFE_METHODS, BasePermission
from rest_framework.request import Request

from accounts.models import Role, Scope, Token, User


class HasTokenScope(BasePermission):
    """The token's scope covers what the view asks for, by its method or in general.

    A method that changes nothing takes `read`, any other `write`; a view says in
    `scopes`, by method, where it is otherwise. A view whose `for_tenant_admins` is true
    takes a user of that role and the scope `admin`, whatever the method.
    """

    # Read where a view does not say it.
    scopes: ClassVar[Mapping[str, Scope]] = {}

    def has_permission(self, request: Request, view: Any) -> bool:
        scope, wanted = scope_of(request), required_scope(view, str(request.method))
        if not scope.covers(wanted):
            self.message = f"This takes a token of scope {wanted}, and yours is {scope}"
            return False
        if getattr(view, "for_tenant_admins", False) and not _is_admin(request.user):
            self.message = "This is for the administrators of a tenant"
            return False
        return True


def scope_of(request: Request) -> Scope:
    """What the caller's credential may do. One that is no token sets and takes tasks."""
    token = request.auth
    return Scope(token.scope) if isinstance(token, Token) else Scope.WRITE


def required_scope(view: Any, method: str) -> Scope:
    if getattr(view, "for_tenant_admins", False):
        return Scope.ADMIN
    scopes: Mapping[str, Scope] = getattr(view, "scopes", HasTokenScope.scopes)
    named = "GET" if method == "HEAD" else method
    return scopes.get(named, Scope.READ if method in SAFE_METHODS else Scope.WRITE)


def _is_admin(user: object) -> bool:
    return isinstance(user, User) and user.role == Role.ADMIN


def reaches_tenant(user: User, token: Token) -> bool:
    """Whether this call reaches what others of the user's tenant have."""
    return user.role == Role.ADMIN and token.scope == Scope.ADMIN


# What an admin's page lets staff do, and so what a token that they make may do: they
# could read it off there, or do it there, anyway.
_STAFF_PERMISSIONS: Mapping[Scope, tuple[str, ...]] = {
    Scope.READ: ("tasks_api.view_task",),
    Scope.WRITE: (
        "tasks_api.add_task",
        "tasks_api.change_task",
        "tasks_api.delete_task",
    ),
    Scope.ADMIN: (
        "accounts.add_user",
        "accounts.change_user",
        "accounts.change_token",
        "accounts.change_tenant",
        "accounts.view_auditentry",
    ),
}


def may_change_tenant(staff: AnonymousUser | User, tenant_id: int | None) -> bool:
    """Whether staff look after this tenant: those who have one, after no other."""
    if not isinstance(staff, User):
        return False
    return staff.is_superuser or staff.tenant_id in (None, tenant_id)


def may_change_user(staff: AnonymousUser | User, user: User) -> bool:
    """Whether staff may change a user: superusers anybody, others nobody who is staff."""
    if isinstance(staff, User) and staff.is_superuser:
        return True
    is_greater = user.is_staff or user.is_superuser
    return not is_greater and may_change_tenant(staff, user.tenant_id)


def may_create_token(staff: AnonymousUser | User, user: User, scope: Scope) -> bool:
    """Whether staff may have a token of this user that does so much."""
    needed = [
        name
        for each in Scope
        if scope.covers(each)
        for name in _STAFF_PERMISSIONS[each]
    ]
    return may_change_user(staff, user) and staff.has_perms(needed)
