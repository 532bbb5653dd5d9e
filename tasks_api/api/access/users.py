"""The views of a tenant's users: list, add and change them, and transfer their tasks."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, ClassVar

from rest_framework.exceptions import NotFound, PermissionDenied
from rest_framework.request import Request
from rest_framework.response import Response

from accounts import services as accounts
from accounts.models import Role, User
from tasks_api.api import fields
from tasks_api.api.access import openapi as schema
from tasks_api.api.access.base import NameConflict, read_choice, read_row_id
from tasks_api.api.errors import FormatView
from tasks_api.api.pagination import page_of
from tasks_api.domain.exceptions import InvalidTask
from tasks_api.domain.timestamps import format_optional_timestamp
from tasks_api.services import owners


class UserList(FormatView):
    for_tenant_admins: ClassVar = True

    @schema.list_users
    def get(self, request: Request) -> Response:
        users = User.objects.filter(tenant=self.tenant)
        page = page_of(request, users, key="pk", read_cursor=read_row_id)
        return page.response("users", render_user)

    @schema.add_user
    def post(self, request: Request) -> Response:
        data = fields.require_object(request.data)
        name = fields.client_name("name", fields.require_field(data, "name"))
        role = read_choice(data, "role", Role, default=Role.MEMBER)
        return Response(render_user(self._add_user(name, role)), status=201)

    def _add_user(self, name: str, role: Role) -> User:
        try:
            return accounts.add_user(self.tenant, name, role=role)
        except accounts.UserExists as error:
            raise NameConflict(str(error)) from None
        except accounts.AccountError as error:
            raise InvalidTask("name", f"Invalid value of name. {error}") from None


class UserView(FormatView):
    for_tenant_admins: ClassVar = True

    def find(self, name: str) -> User:
        if "\0" not in name:
            user = User.objects.filter(tenant=self.tenant, name=name).first()
            if user is not None:
                return user
        raise NotFound("User not found")


class UserDetail(UserView):
    @schema.get_user
    def get(self, request: Request, name: str) -> Response:
        return Response(render_user(self.find(name)))

    @schema.change_user
    def patch(self, request: Request, name: str) -> Response:
        data = fields.require_object(request.data)
        user = self.find(name)
        role = read_choice(data, "role", Role, default=None)
        is_active = fields.boolean(data, "is_active")
        return Response(render_user(self._change_member(user, role, is_active)))

    def _change_member(
        self, user: User, role: Role | None, is_active: bool | None
    ) -> User:
        try:
            return accounts.change_member(
                self.user, user, role=role, is_active=is_active
            )
        except accounts.OwnAccount as refusal:
            raise InvalidTask("name", str(refusal)) from None
        except accounts.StaffAccount as refusal:
            raise PermissionDenied(str(refusal)) from None


class TransferTasks(UserView):
    @schema.transfer_tasks
    def post(self, request: Request, name: str) -> Response:
        source = self.find(name)
        target = self._read_target(fields.require_object(request.data))
        count = self._transfer_tasks(source, target)
        message = "Tasks have been handed over successfully"
        return Response({"message": message, "count": count})

    def _transfer_tasks(self, source: User, target: User) -> int:
        try:
            return owners.transfer_tasks(source, target)
        except accounts.AccountError as error:
            raise InvalidTask("to", f"Invalid value of to. {error}") from None

    def _read_target(self, data: Mapping[str, Any]) -> User:
        try:
            return self.find(fields.client_name("to", fields.require_field(data, "to")))
        except NotFound:
            raise InvalidTask(
                "to", "Invalid value of to. There is no such user"
            ) from None


def render_user(user: User) -> dict[str, Any]:
    return {
        "name": user.name,
        "username": user.username,
        "role": user.role,
        "is_active": user.is_active,
        "created_at": format_optional_timestamp(user.date_joined),
    }
