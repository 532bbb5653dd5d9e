"""The tasks surface for targets at work: complete a run, fail it, or ask for more time."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, ClassVar
from uuid import UUID

from drf_spectacular.extensions import OpenApiAuthenticationExtension
from rest_framework.authentication import BaseAuthentication
from rest_framework.request import Request
from rest_framework.response import Response

from accounts.authentication import TokenAuthentication, scheme_and_credential
from tasks_api.api import fields
from tasks_api.api.json_codec import dumps
from tasks_api.api.tasks import long_work_openapi as schema
from tasks_api.api.tasks.base import TasksView, parse_run_id
from tasks_api.delivery import run_tokens
from tasks_api.domain.exceptions import InvalidTask, RunAccessDenied
from tasks_api.domain.timestamps import format_optional_timestamp
from tasks_api.messaging import broker
from tasks_api.worker import long_work

MAX_BODY_BYTES = 16 * 1024
MAX_REASON_LENGTH = 1000


class RunBearer:
    """Who shows a run's token, which says nothing about any user."""

    is_authenticated = True

    def __init__(self, token: str) -> None:
        self.token = token


class RunTokenAuthentication(BaseAuthentication):
    """A run's token, in its own header or as `Authorization: Bearer <token>`."""

    def authenticate(self, request: Request) -> tuple[RunBearer, None] | None:
        # Whoever shows a run's token is judged by it, and be it empty.
        token = request.headers.get(run_tokens.HEADER)
        if token is None:
            header = request.headers.get("Authorization", "")
            scheme, token = scheme_and_credential(header)
            if scheme != "bearer" or not token.startswith(f"{run_tokens.PREFIX}_"):
                return None
        # Here, so that nobody is listened to who shows just anything.
        run_id = parse_run_id(request.parser_context["kwargs"]["run_id"])
        if run_tokens.read_turn(token, run_id, long_work.run_token_keys()) is None:
            raise RunAccessDenied(long_work.NOT_OF_THIS_RUN)
        return RunBearer(token), None

    def authenticate_header(self, request: Request) -> str:
        return "Bearer"


class RunTokenScheme(OpenApiAuthenticationExtension):  # type: ignore[no-untyped-call]  # its registration on subclassing has no types
    """How the OpenAPI schema describes it."""

    target_class = RunTokenAuthentication
    name = "runToken"

    def get_security_definition(self, auto_schema: object) -> dict[str, str]:
        return {
            "type": "apiKey",
            "in": "header",
            "name": run_tokens.HEADER,
            "description": "The token that came with the request of a run, for its target.",
        }


class LongWorkView(TasksView):
    authentication_classes = [RunTokenAuthentication, TokenAuthentication]
    max_body_bytes = MAX_BODY_BYTES
    error_messages: ClassVar[dict[int, str]] = {
        status: text
        for status, text in TasksView.error_messages.items()
        if status not in (403, 404)
    }

    @property
    def caller(self) -> long_work.Caller:
        who: object = self.request.user
        return who.token if isinstance(who, RunBearer) else self.user


class CompleteRun(LongWorkView):
    @schema.complete_run
    def post(self, request: Request, run_id: str) -> Response:
        answer = "" if request.stream is None else dumps(request.data)
        wanted = parse_run_id(run_id)
        settled = long_work.complete(self.caller, wanted, answer=answer)
        return _report(wanted, settled)


class FailRun(LongWorkView):
    @schema.fail_run
    def post(self, request: Request, run_id: str) -> Response:
        data = {} if request.stream is None else fields.require_object(request.data)
        why, again = _reason(data), data.get("retry")
        if again is not None and not isinstance(again, bool):
            raise InvalidTask("retry", "Invalid value of retry. Value should be a bool")
        wanted = parse_run_id(run_id)
        settled = long_work.fail(self.caller, wanted, why=why, again=again is not False)
        return _report(wanted, settled)


class HeartbeatRun(LongWorkView):
    @schema.heartbeat_run
    def post(self, request: Request, run_id: str) -> Response:
        wanted = parse_run_id(run_id)
        deadline = format_optional_timestamp(long_work.heartbeat(self.caller, wanted))
        return Response({"run_id": str(wanted), "deadline": deadline})


def _reason(data: Mapping[str, Any]) -> str:
    reason = data.get("reason", "")
    if reason is None:
        return ""
    if isinstance(reason, str) and len(reason) <= MAX_REASON_LENGTH:
        return reason.strip()
    raise InvalidTask(
        "reason",
        "Invalid value of reason. Value should be a string of at most "
        f"{MAX_REASON_LENGTH} characters",
    )


def _report(run_id: UUID, settled: long_work.LongWorkResult) -> Response:
    broker.ring_workers(settled.to_ring)
    broker.announce_ends(settled.run_ids)
    return Response({"run_id": str(run_id), "state": settled.state})
