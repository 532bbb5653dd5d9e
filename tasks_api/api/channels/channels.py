"""The views of channels: list, create, change, test and remove them."""

from __future__ import annotations

from typing import ClassVar
from uuid import UUID

from rest_framework.request import Request
from rest_framework.response import Response

from scheduler_service.db import clock
from tasks_api.api import fields
from tasks_api.api.channels import openapi as schema
from tasks_api.api.channels.base import (
    DETAIL_SCOPES,
    LIST_SCOPES,
    ChannelsView,
    parse_id,
)
from tasks_api.api.channels.channel_fields import (
    read_columns,
    read_kind,
    read_settings,
    render_channel,
)
from tasks_api.api.pagination import page_of, read_uuid
from tasks_api.domain.exceptions import ChannelNotFound
from tasks_api.domain.notices import ChannelKind
from tasks_api.models import Channel
from tasks_api.services import channels


class ChannelView(ChannelsView):
    def render(self, channel: Channel) -> dict[str, object]:
        return render_channel(channel, with_settings=self.user.reaches_tenant)


class ChannelList(ChannelView):
    scopes: ClassVar = LIST_SCOPES

    @schema.list_channels
    def get(self, request: Request) -> Response:
        found = channels.list_channels(self.tenant).select_related("tenant")
        page = page_of(request, found, key="pk", read_cursor=read_uuid)
        return page.response("channels", self.render)

    @schema.create_channel
    def post(self, request: Request) -> Response:
        data = fields.require_object(request.data)
        fields.require_field(data, "name")
        kind, columns = read_kind(data), read_columns(data)
        settings = read_settings(data, kind, is_new=True)
        made = channels.create_channel(
            self.user, kind=kind, settings=settings, fields=columns
        )
        headers = {"Location": f"/channels/{made.pk}/"}
        return Response(self.render(made), status=201, headers=headers)


class ChannelDetail(ChannelView):
    scopes: ClassVar = DETAIL_SCOPES

    @schema.get_channel
    def get(self, request: Request, channel_id: str) -> Response:
        found = channels.get_channel(self.tenant, _parse_id(channel_id))
        return Response(self.render(found))

    @schema.change_channel
    def patch(self, request: Request, channel_id: str) -> Response:
        data, row_id = fields.require_object(request.data), _parse_id(channel_id)
        kind = ChannelKind(channels.get_channel(self.tenant, row_id).kind)
        settings = read_settings(data, kind, is_new=False)
        changed = channels.change_channel(
            self.user, row_id, settings=settings, fields=read_columns(data)
        )
        return Response(self.render(changed))

    @schema.remove_channel
    def delete(self, request: Request, channel_id: str) -> Response:
        channels.remove_channel(self.user, _parse_id(channel_id), now=clock.now())
        return Response({"message": "Channel has been removed successfully"})


class TestChannel(ChannelView):
    for_tenant_admins: ClassVar = True

    @schema.test_channel
    def post(self, request: Request, channel_id: str) -> Response:
        task_id = channels.send_test(self.user, _parse_id(channel_id), now=clock.now())
        message = "A test message is on its way"
        return Response({"task_id": str(task_id), "message": message}, status=202)


def _parse_id(text: str) -> UUID:
    return parse_id(text, ChannelNotFound, "Channel not found")
