"""The methods of the client for channels, and for the rules that send to them."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

from scheduler_client.connection import MAX_PAGE_SIZE, ConnectionOwner
from scheduler_client.decoding import decode
from scheduler_client.encoding import quote_segment
from scheduler_client.models import Channel, Rule

ChannelOrId = Channel | str
RuleOrId = Rule | str


class ChannelMethods(ConnectionOwner):
    def list_channels(self) -> Iterator[Channel]:
        """List the channels of your tenant, the newest first."""
        query = {"limit": MAX_PAGE_SIZE}
        for item in self._connection.get_pages("/channels/", "channels", query):
            yield decode(Channel, item)

    def get_channel(self, channel: ChannelOrId) -> Channel:
        return decode(Channel, self._connection.get(_channel_path(channel)).body)

    def create_channel(self, name: str, kind: str, **fields: Any) -> Channel:
        """Create a channel; `fields` are those of its kind. For administrators."""
        body = {"name": name, "kind": kind, **fields}
        response = self._connection.post("/channels/", body, idempotent=False)
        return decode(Channel, response.body)

    def change_channel(self, channel: ChannelOrId, **fields: Any) -> Channel:
        """Change the given fields of a channel. For administrators."""
        response = self._connection.request(
            "PATCH", _channel_path(channel), body=fields, idempotent=True
        )
        return decode(Channel, response.body)

    def remove_channel(self, channel: ChannelOrId) -> None:
        """Remove a channel with its rules. For administrators."""
        self._connection.request("DELETE", _channel_path(channel), idempotent=True)

    def test_channel(self, channel: ChannelOrId) -> str:
        """Send a test message. Returns the task that sends it: see `list_runs`."""
        path = f"{_channel_path(channel)}test/"
        return str(self._connection.post(path, None, idempotent=False).body["task_id"])

    def list_rules(self) -> Iterator[Rule]:
        """List the rules of your tenant, the newest first."""
        query = {"limit": MAX_PAGE_SIZE}
        for item in self._connection.get_pages("/rules/", "rules", query):
            yield decode(Rule, item)

    def get_rule(self, rule: RuleOrId) -> Rule:
        return decode(Rule, self._connection.get(_rule_path(rule)).body)

    def create_rule(
        self, channel: ChannelOrId, events: Sequence[str], **fields: Any
    ) -> Rule:
        """Create a rule that sends events to a channel. For administrators."""
        body = {"channel_id": _to_id(channel), "events": list(events), **fields}
        response = self._connection.post("/rules/", body, idempotent=False)
        return decode(Rule, response.body)

    def change_rule(self, rule: RuleOrId, **fields: Any) -> Rule:
        """Change the given fields of a rule. For administrators."""
        response = self._connection.request(
            "PATCH", _rule_path(rule), body=fields, idempotent=True
        )
        return decode(Rule, response.body)

    def remove_rule(self, rule: RuleOrId) -> None:
        """Remove a rule. For administrators."""
        self._connection.request("DELETE", _rule_path(rule), idempotent=True)


def _to_id(item: Channel | Rule | str) -> str:
    return item if isinstance(item, str) else item.id


def _channel_path(channel: ChannelOrId) -> str:
    return f"/channels/{quote_segment(_to_id(channel))}/"


def _rule_path(rule: RuleOrId) -> str:
    return f"/rules/{quote_segment(_to_id(rule))}/"
