"""The views by which targets complete, fail and extend long work."""

from __future__ import annotations

from typing import ClassVar
from uuid import UUID

from drf_spectacular.extensions import OpenApiAuthenticationExtension
from rest_framework.authentication import BaseAuthentication
from rest_framework.request import Request
from rest_framework.response import Response

from accounts.access.authentication import TokenAuthentication, scheme_and_credential
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


class RunBearer:
    """A caller with the token of a run, who is no user."""

    is_authenticated = True

    def __init__(self, token: str) -> None:
        self.token = token


class RunTokenAuthentication(BaseAuthentication):
    """Authentication by a run's token, in its own header or as a bearer token."""

    def authenticate(self, request: Request) -> tuple[RunBearer, None] | None:
        # A request with this header is authenticated by it alone, including an empty one.
        token = request.headers.get(run_tokens.HEADER)
        if token is None:
            header = request.headers.get("Authorization", "")
            scheme, token = scheme_and_credential(header)
            if scheme != "bearer" or not token.startswith(f"{run_tokens.PREFIX}_"):
                return None
        # Checked here, so that the service reads no body from a caller with a wrong token.
        run_id = parse_run_id(request.parser_context["kwargs"]["run_id"])
        if run_tokens.read_turn(token, run_id, long_work.run_token_keys()) is None:
            raise RunAccessDenied(long_work.NOT_OF_THIS_RUN)
        return RunBearer(token), None

    def authenticate_header(self, request: Request) -> str:
        return "Bearer"


class RunTokenScheme(OpenApiAuthenticationExtension):  # type: ignore[no-untyped-call]  # its registration on subclassing has no types
    """The description of run tokens in the OpenAPI document."""

    target_class = RunTokenAuthentication
    name = "runToken"

    def get_security_definition(self, auto_schema: object) -> dict[str, str]:
        return {
            "type": "apiKey",
            "in": "header",
            "name": run_tokens.HEADER,
            "description": "The token of a run, which its target got with the request.",
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
        user: object = self.request.user
        return user.token if isinstance(user, RunBearer) else self.user


class CompleteRun(LongWorkView):
    @schema.complete_run
    def post(self, request: Request, run_id: str) -> Response:
        answer = "" if request.stream is None else dumps(request.data)
        run_uuid = parse_run_id(run_id)
        result = long_work.complete(self.caller, run_uuid, answer=answer)
        return _report(run_uuid, result)


class FailRun(LongWorkView):
    @schema.fail_run
    def post(self, request: Request, run_id: str) -> Response:
        data = {} if request.stream is None else fields.require_object(request.data)
        why, again = fields.reason(data), data.get("retry")
        if again is not None and not isinstance(again, bool):
            raise InvalidTask(
                "retry", "Invalid value of retry. Value should be true or false"
            )
        run_uuid = parse_run_id(run_id)
        result = long_work.fail(
            self.caller, run_uuid, why=why, again=again is not False
        )
        return _report(run_uuid, result)


class HeartbeatRun(LongWorkView):
    @schema.heartbeat_run
    def post(self, request: Request, run_id: str) -> Response:
        run_uuid = parse_run_id(run_id)
        deadline = format_optional_timestamp(long_work.heartbeat(self.caller, run_uuid))
        return Response({"run_id": str(run_uuid), "deadline": deadline})


def _report(run_id: UUID, result: long_work.LongWorkResult) -> Response:
    if result.has_next:
        broker.ring()
    broker.announce_ends(result.run_ids)
    return Response({"run_id": str(run_id), "state": result.state})
