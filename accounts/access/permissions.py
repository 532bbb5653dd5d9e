"""Permissions, by the scope of a token, the role of a user and the rights of staff."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from typing import Any, ClassVar

from django.contrib.auth.models import AnonymousUser
from rest_framework.permissions import SAFE_METHODS, BasePermission
from rest_framework.request import Request

from accounts.models import Role, Scope, Token, User


class HasTokenScope(BasePermission):
    """The scope of the token covers the scope that the view requires.

    A method that changes nothing requires `read`, any other `write`; a view overrides
    that in `scopes`, by method. A view with `for_tenant_admins` requires the role and
    the scope `admin` for every method.
    """

    # The default for views without `scopes`.
    scopes: ClassVar[Mapping[str, Scope]] = {}

    def has_permission(self, request: Request, view: Any) -> bool:
        named = "GET" if request.method == "HEAD" else request.method
        if is_bounded(request) and named not in bounded_methods(view):
            self.message = "A token with bounds reaches its own tasks, and not this"
            return False
        scope, required = scope_of(request), required_scope(view, str(request.method))
        if not scope.covers(required):
            self.message = (
                f"This takes a token of scope {required}, and yours is {scope}"
            )
            return False
        if getattr(view, "for_tenant_admins", False) and not _is_admin(request.user):
            self.message = "This is for the administrators of a tenant"
            return False
        if not scope_of_role(request.user).covers(required):
            self.message = "A viewer reads what the tenant has, and changes nothing"
            return False
        return True


def is_bounded(request: Request) -> bool:
    """Whether the caller has a token with bounds."""
    return isinstance(request.auth, Token) and request.auth.bounds_id is not None


def bounded_methods(view: Any) -> Collection[str]:
    """The methods of a view that a token with bounds may call: none unless it says so."""
    methods: Collection[str] = getattr(view, "bounded_methods", ())
    return methods


def scope_of(request: Request) -> Scope:
    """The scope of the caller. A credential other than a token has the scope `write`."""
    token = request.auth
    return Scope(token.scope) if isinstance(token, Token) else Scope.WRITE


def scope_of_role(user: object) -> Scope:
    """What the role of a user allows at most, and what the user may do on the pages."""
    is_viewer = isinstance(user, User) and user.role == Role.VIEWER
    return Scope.READ if is_viewer else Scope.ADMIN


def required_scope(view: Any, method: str) -> Scope:
    if getattr(view, "for_tenant_admins", False):
        return Scope.ADMIN
    scopes: Mapping[str, Scope] = getattr(view, "scopes", HasTokenScope.scopes)
    named = "GET" if method == "HEAD" else method
    return scopes.get(named, Scope.READ if method in SAFE_METHODS else Scope.WRITE)


def _is_admin(user: object) -> bool:
    return isinstance(user, User) and user.role == Role.ADMIN


def reaches_tenant(user: User, scope: str) -> bool:
    """Whether a call with this scope reaches what other users of the tenant have."""
    if user.role == Role.VIEWER:
        return True
    return user.role == Role.ADMIN and scope == Scope.ADMIN


# The rights that staff need to create a token of a scope: in the admin they could do the
# same without a token.
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
    """Whether staff may change this tenant: staff of a tenant only their own."""
    if not isinstance(staff, User):
        return False
    return staff.is_superuser or staff.tenant_id in (None, tenant_id)


def may_change_user(staff: AnonymousUser | User, user: User) -> bool:
    """Whether staff may change a user: only superusers may change other staff."""
    if isinstance(staff, User) and staff.is_superuser:
        return True
    is_privileged = user.is_staff or user.is_superuser
    return not is_privileged and may_change_tenant(staff, user.tenant_id)


def may_create_token(staff: AnonymousUser | User, user: User, scope: Scope) -> bool:
    """Whether staff may create a token of this user with this scope."""
    needed = [
        name
        for each in Scope
        if scope.covers(each)
        for name in _STAFF_PERMISSIONS[each]
    ]
    return may_change_user(staff, user) and staff.has_perms(needed)
