"""The views of rules: list, create, change and remove them."""

from __future__ import annotations

from typing import ClassVar
from uuid import UUID

from rest_framework.request import Request
from rest_framework.response import Response

from tasks_api.api import fields
from tasks_api.api.channels import openapi as schema
from tasks_api.api.channels.base import (
    DETAIL_SCOPES,
    LIST_SCOPES,
    ChannelsView,
    parse_id,
)
from tasks_api.api.channels.rule_fields import read_columns, render_rule
from tasks_api.api.pagination import page_of, read_uuid
from tasks_api.domain.exceptions import RuleNotFound
from tasks_api.services import rules


class RuleList(ChannelsView):
    scopes: ClassVar = LIST_SCOPES

    @schema.list_rules
    def get(self, request: Request) -> Response:
        found = rules.list_rules(self.tenant)
        page = page_of(request, found, key="pk", read_cursor=read_uuid)
        return page.response("rules", render_rule)

    @schema.create_rule
    def post(self, request: Request) -> Response:
        data = fields.require_object(request.data)
        for name in ("channel_id", "events"):
            fields.require_field(data, name)
        made = rules.create_rule(self.user, read_columns(data))
        headers = {"Location": f"/rules/{made.pk}/"}
        return Response(render_rule(made), status=201, headers=headers)


class RuleDetail(ChannelsView):
    scopes: ClassVar = DETAIL_SCOPES

    @schema.get_rule
    def get(self, request: Request, rule_id: str) -> Response:
        return Response(render_rule(rules.get_rule(self.tenant, _parse_id(rule_id))))

    @schema.change_rule
    def patch(self, request: Request, rule_id: str) -> Response:
        columns = read_columns(fields.require_object(request.data))
        changed = rules.change_rule(self.user, _parse_id(rule_id), columns)
        return Response(render_rule(changed))

    @schema.remove_rule
    def delete(self, request: Request, rule_id: str) -> Response:
        rules.remove_rule(self.user, _parse_id(rule_id))
        return Response({"message": "Rule has been removed successfully"})


def _parse_id(text: str) -> UUID:
    return parse_id(text, RuleNotFound, "Rule not found")
