"""The views of queues as a whole: what waits in them, and how they are put in order."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, ClassVar

import simplejson
from rest_framework.request import Request
from rest_framework.response import Response

from tasks_api.api import fields, pagination
from tasks_api.api.errors import FormatView
from tasks_api.api.pull_queue import queues_openapi as schema
from tasks_api.domain.exceptions import InvalidTask
from tasks_api.domain.message_states import MessageState
from tasks_api.domain.timestamps import format_optional_timestamp, format_timestamp
from tasks_api.services import queues
from tasks_api.services.queues import MessageCursor, PeekedMessage, Queue

MAX_QUEUES, MAX_MESSAGES = 100, 100


class QueueList(FormatView):
    @schema.list_queues
    def get(self, request: Request) -> Response:
        query = fields.query_parameters(request)
        after = fields.id_parameter(query, "cursor") if "cursor" in query else ""
        limit = pagination.page_size(query, default=MAX_QUEUES, maximum=MAX_QUEUES)
        page = queues.list_queues(self.tenant, after=after, limit=limit)
        return _page(request, page.queues, page.after).response("queues", render_queue)


class MessageList(FormatView):
    @schema.list_messages
    def get(self, request: Request) -> Response:
        query = fields.query_parameters(request)
        page = queues.peek(
            self.tenant,
            fields.id_parameter(query, "queue"),
            _state(query),
            after=_cursor(query["cursor"]) if "cursor" in query else None,
            limit=pagination.page_size(query, default=50, maximum=MAX_MESSAGES),
        )
        cursor = page.after and page.after.to_text()
        return _page(request, page.messages, cursor).response(
            "messages", render_message
        )


class RequeueExhausted(FormatView):
    @schema.requeue_exhausted
    def post(self, request: Request) -> Response:
        return _count(queues.requeue_exhausted(self.tenant, _queue_name(request)))


class PurgeQueue(FormatView):
    for_tenant_admins: ClassVar = True

    @schema.purge_queue
    def post(self, request: Request) -> Response:
        return _count(queues.purge_queue(self.tenant, _queue_name(request)))


# Requests.


def _queue_name(request: Request) -> str:
    data = fields.require_object(request.data)
    return fields.client_name("queue", fields.require_field(data, "queue"))


def _state(query: Mapping[str, str]) -> MessageState:
    text = query.get("state", MessageState.READY)
    if text in list(MessageState):
        return MessageState(text)
    states = ", ".join(MessageState)
    raise InvalidTask("state", f"Invalid value of state. It should be one of {states}")


def _cursor(text: str) -> MessageCursor:
    try:
        return MessageCursor.from_text(text)
    except ValueError:
        raise pagination.invalid_cursor() from None


# Responses.


def _page(request: Request, rows: list[Any], cursor: str | None) -> pagination.Page:
    if cursor is None:
        return pagination.Page(rows)
    link = pagination.next_page_link(request, cursor=cursor)
    return pagination.Page(rows, cursor, link)


def _count(count: int) -> Response:
    return Response({"count": count, "more": count == queues.MAX_CHANGED})


def render_queue(queue: Queue) -> dict[str, Any]:
    counts = {state.replace("-", "_"): queue.count(state) for state in MessageState}
    oldest = format_optional_timestamp(queue.oldest)
    return {"queue": queue.queue, **counts, "oldest": oldest, "lost": queue.lost}


def render_message(message: PeekedMessage) -> dict[str, Any]:
    """A message; a payload that is too long for a list is null, and its length says why."""
    is_whole = not message.is_cut_off
    return {
        "id": message.name,
        "run_at": format_timestamp(message.run_at),
        "leased_until": format_optional_timestamp(message.leased_until),
        "timeout": message.timeout_seconds,
        "max_retries": message.max_retries,
        "retry_count": message.retry_count,
        "payload": simplejson.RawJSON(message.payload) if is_whole else None,
        "payload_length": message.payload_length,
    }
