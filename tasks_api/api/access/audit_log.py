"""The view of a tenant's audit log."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, ClassVar

from django.db.models import QuerySet
from rest_framework.request import Request
from rest_framework.response import Response

from accounts import audit
from tasks_api.api import fields
from tasks_api.api.access import openapi as schema
from tasks_api.api.errors import FormatView
from tasks_api.api.pagination import page_of, read_uuid


class AuditLog(FormatView):
    for_tenant_admins: ClassVar = True

    @schema.list_audit
    def get(self, request: Request) -> Response:
        entries = self._selected_entries(fields.query_parameters(request))
        page = page_of(request, entries, key="id", read_cursor=read_uuid)
        return page.response("entries", audit.to_dict)

    def _selected_entries(self, query: Mapping[str, str]) -> QuerySet[Any]:
        entries: QuerySet[Any] = audit.find_entries(
            self.tenant.pk,
            actor=_optional_parameter(query, "actor"),
            action=_optional_parameter(query, "action"),
            object_id=_optional_parameter(query, "object"),
            since=fields.optional_moment(query, "from"),
            until=fields.optional_moment(query, "to"),
        )
        return entries


def _optional_parameter(query: Mapping[str, str], name: str) -> str:
    return fields.id_parameter(query, name) if name in query else ""
