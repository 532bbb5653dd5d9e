"""Refusals become answers: one table of statuses, and each wire format's own words."""

from __future__ import annotations

from typing import Any, NamedTuple

from django.db import InterfaceError, OperationalError
from django.http import Http404, HttpRequest, JsonResponse
from django.utils.log import log_response
from rest_framework.exceptions import APIException
from rest_framework.response import Response
from rest_framework.views import APIView, set_rollback

from accounts.models import User
from tasks_api.exceptions import (
    InvalidTask,
    NotYourTask,
    SchedulerError,
    TaskNotFound,
)

STATUS: dict[type[Exception], int] = {
    InvalidTask: 400,
    NotYourTask: 403,
    TaskNotFound: 404,
}

NOT_FOUND = "Not found"
FAILURE = "APIError: Internal Server error occurred!"


class Refusal(NamedTuple):
    """Why there is no ordinary answer, before a wire format words it.

    A status of 500 or more is our own failure: `cause` says what happened to us.
    """

    status: int
    message: str
    cause: Exception


class SurfaceView(APIView):
    """Base of all views of a wire format; `refuse` puts errors in its words."""

    @property
    def user(self) -> User:
        """Who calls. Views that let nobody in without a token have one."""
        user = self.request.user
        assert isinstance(user, User)
        return user

    def refuse(self, refusal: Refusal) -> Response:
        return _answer(refusal)


def exception_handler(exc: Exception, context: dict[str, Any]) -> Response:
    set_rollback()
    refusal = _refusal(exc)
    view = context["view"]
    is_ours = isinstance(view, SurfaceView)
    response = view.refuse(refusal) if is_ours else _answer(refusal)
    if challenge := getattr(exc, "auth_header", None):
        response["WWW-Authenticate"] = challenge
    if refusal.status >= 500:
        _log(exc, response, context["request"])
    return response


def _refusal(exc: Exception) -> Refusal:
    match exc:
        case APIException():
            return Refusal(exc.status_code, str(exc.detail), exc)
        case Http404():
            return Refusal(404, NOT_FOUND, exc)
        case SchedulerError() if type(exc) in STATUS:
            return Refusal(STATUS[type(exc)], str(exc), exc)
    return Refusal(500, FAILURE, exc)


def _answer(refusal: Refusal) -> Response:
    return Response(_shape(refusal.message), status=refusal.status)


def _log(exc: Exception, response: Response, request: Any) -> None:
    # Django's own way of logging, which marks the response so that it does so once.
    if isinstance(exc, OperationalError | InterfaceError):
        # Where it happened says nothing: the database is away for everybody.
        text = "The database failed: %s"
        log_response(text, exc, response=response, request=request, level="error")
    else:
        log_response(
            "%s failed", request.path, response=response, request=request, exception=exc
        )


def _shape(message: str) -> dict[str, Any]:
    return {"error": {"message": message}}


# What Django itself answers, where no view was reached or one could not be finished.


def bad_request(request: HttpRequest, exception: Exception) -> JsonResponse:
    return JsonResponse(_shape("Bad request"), status=400)


def not_found(request: HttpRequest, exception: Exception) -> JsonResponse:
    return JsonResponse(_shape(NOT_FOUND), status=404)


def failed(request: HttpRequest) -> JsonResponse:
    return JsonResponse(_shape(FAILURE), status=500)
