"""Render errors as responses: one table of statuses, one rendering per wire format."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from math import ceil
from typing import Any, ClassVar, NamedTuple

from django.core.exceptions import SuspiciousOperation
from django.db import InterfaceError, OperationalError
from django.http import Http404, HttpRequest, HttpResponse, JsonResponse
from django.utils.log import log_response
from psycopg.errors import CannotConnectNow
from rest_framework.exceptions import APIException
from rest_framework.permissions import SAFE_METHODS
from rest_framework.request import Request
from rest_framework.response import Response
from rest_framework.views import APIView, set_rollback

from accounts import throttling
from accounts.access.authentication import (
    AnonymousAuthentication,
    InvalidCredential,
    TokenAuthentication,
)
from accounts.access.login import client_address
from accounts.models import Scope, Tenant, User
from accounts.throttling import CredentialKind
from scheduler_service.db import clock
from tasks_api.api import known_fields, rate_limits
from tasks_api.domain.effort import TooMuch, allowance
from tasks_api.domain.exceptions import (
    CalendarExists,
    CalendarNotFound,
    ChannelExists,
    ChannelNotFound,
    InvalidState,
    InvalidTask,
    KeyInUse,
    KeyReused,
    LaneExists,
    LaneNotFound,
    LimitReached,
    MessageExists,
    MessageNotFound,
    NameTaken,
    PlanChanged,
    RuleNotFound,
    RunAccessDenied,
    RunNotFound,
    ScheduleError,
    SchedulerError,
    TaskAccessDenied,
    TaskBusy,
    TaskNotFound,
    TenantFrozen,
    VersionConflict,
)
from tasks_api.domain.timestamps import format_optional_timestamp
from tasks_api.services import request_quotas
from tasks_api.services.request_quotas import RequestQuota

HTTP_STATUS: dict[type[Exception], int] = {
    InvalidTask: 400,
    TaskAccessDenied: 403,
    RunAccessDenied: 403,
    TaskNotFound: 404,
    RunNotFound: 404,
    InvalidState: 409,
    MessageNotFound: 404,
    MessageExists: 409,
    NameTaken: 409,
    PlanChanged: 409,
    CalendarNotFound: 404,
    CalendarExists: 409,
    ChannelNotFound: 404,
    ChannelExists: 409,
    RuleNotFound: 404,
    LaneNotFound: 404,
    LaneExists: 409,
    TaskBusy: 409,
    KeyInUse: 409,
    VersionConflict: 412,
    KeyReused: 422,
    TooMuch: 400,
    ScheduleError: 400,
    TenantFrozen: 503,
}

# The steps that the schedules of one request may take to compute: enough for ten thousand
# ordinary expressions, or a hundred thousand fire times.
MAX_SCHEDULE_STEPS = 500_000

NOT_FOUND = "Not found"
INTERNAL_ERROR = "Internal error"
STORAGE_OUTAGE = "The storage has trouble at the moment; try again"


class ErrorResponse(NamedTuple):
    """An error before a wire format renders it.

    A status of 500 or more is our own failure: `cause` says what happened to us.
    """

    status: int
    message: str
    cause: Exception

    @property
    def is_outage(self) -> bool:
        """Whether the storage failed, so that the same request may succeed later."""
        return isinstance(self.cause, OperationalError | InterfaceError)


class FormatView(APIView):
    """The base of all views of a wire format; `render_error` renders its errors.

    A token of scope `read` may call methods that read; `scopes` lists exceptions, such as
    `{"POST": Scope.READ}`. Views `for_tenant_admins` require that role and scope `admin`.
    """

    scopes: ClassVar[Mapping[str, Scope]] = {}
    for_tenant_admins: ClassVar[bool] = False
    # Whether POST and PUT store tasks, whose runs may have to wait for a quota.
    stores_tasks: ClassVar[bool] = False
    # What a token with bounds may call. Such a method works on the tasks that the token
    # made, and on no others.
    bounded_methods: ClassVar[Collection[str]] = ()
    # The quotas of requests a minute against which this request counts.
    request_quotas: Sequence[RequestQuota] = ()
    # The unknown fields of a request that the operation ignores.
    ignored_fields: Sequence[known_fields.UnknownField] = ()

    def dispatch(self, request: Any, *args: Any, **kwargs: Any) -> Any:
        with allowance(MAX_SCHEDULE_STEPS, TooMuch):
            return super().dispatch(request, *args, **kwargs)

    @property
    def user(self) -> User:
        """The calling user. Views that require a token have one."""
        user = self.request.user
        assert isinstance(user, User)
        return user

    @property
    def tenant(self) -> Tenant:
        tenant = self.user.tenant
        assert tenant is not None
        return tenant

    def perform_authentication(self, request: Request) -> None:
        super().perform_authentication(request)
        if isinstance(request.user, User):
            self.request_quotas = request_quotas.count_request(request.user)
            rate_limits.require_left(self.request_quotas)

    def initial(self, request: Request, *args: Any, **kwargs: Any) -> None:
        super().initial(request, *args, **kwargs)
        if isinstance(request.user, User):
            require_at_home(request.user, is_change=_changes_tenant(self, request))
        handler = getattr(self, str(request.method).lower(), None)
        if (operation := getattr(handler, "operation", None)) is not None:
            self.ignored_fields = known_fields.find_ignored_fields(operation, request)

    def finalize_response(
        self, request: Request, response: Any, *args: Any, **kwargs: Any
    ) -> Any:
        final = super().finalize_response(request, response, *args, **kwargs)
        if self.ignored_fields:
            final[known_fields.IGNORED_HEADER] = known_fields.to_header(
                self.ignored_fields
            )
        if self.request_quotas:
            for name, value in rate_limits.headers_of(self.request_quotas).items():
                final[name] = value
        if self.stores_tasks and (warning := self._find_warning(request, final)):
            final[rate_limits.WARNING_HEADER] = warning
        return final

    def _find_warning(self, request: Request, response: HttpResponse) -> str | None:
        is_stored = request.method in ("POST", "PUT") and response.status_code < 300
        return rate_limits.find_warning(self.user) if is_stored else None

    def render_error(self, error: ErrorResponse) -> HttpResponse:
        return _render_json(error)


class AnonymousAllowedView(FormatView):
    """A view of a format that documents no authentication.

    With SCHEDULER_ANONYMOUS_TENANT, a caller without a token acts as that tenant.
    """

    authentication_classes = [TokenAuthentication, AnonymousAuthentication]


class PlainTextErrorView(AnonymousAllowedView):
    """A view of a format whose errors are one sentence of plain text."""

    # The status that the format's document names for a storage outage.
    outage_status: ClassVar[int] = 429

    def render_error(self, error: ErrorResponse) -> HttpResponse:
        status, message, _ = error
        if error.is_outage:
            status, message = self.outage_status, STORAGE_OUTAGE
        return HttpResponse(
            message, status=status, content_type="text/plain; charset=utf-8"
        )


def _changes_tenant(view: FormatView, request: Request) -> bool:
    """Whether a request changes what the tenant has, or leases it."""
    method = str(request.method)
    usual = Scope.READ if method in SAFE_METHODS else Scope.WRITE
    return view.scopes.get(method, usual) != Scope.READ


def _is_of_frozen_tenant(error: Exception) -> bool:
    """Whether a trigger has refused a change whose request was let in before the freeze."""
    is_outage = isinstance(error, OperationalError)
    return is_outage and isinstance(error.__cause__, CannotConnectNow)


def require_at_home(user: User, *, is_change: bool) -> None:
    """Raise TenantFrozen if the tenant of a caller has moved, or moves and is to change."""
    tenant = user.tenant
    if tenant is None or tenant.frozen_at is None:
        return
    if is_change or tenant.moved_at is not None:
        raise TenantFrozen


def exception_handler(exc: Exception, context: dict[str, Any]) -> HttpResponse:
    set_rollback()
    if _is_of_frozen_tenant(exc):
        exc = TenantFrozen()
    error, wait = _limit_attempts(_describe_error(exc), context["request"])
    if isinstance(exc, LimitReached) and exc.until is not None:
        wait = max(1.0, (exc.until - clock.now()).total_seconds())
    if isinstance(exc, TenantFrozen):
        wait = exc.retry_after
    view = context["view"]
    is_ours = isinstance(view, FormatView)
    response = view.render_error(error) if is_ours else _render_json(error)
    if wait is not None:
        response["Retry-After"] = str(ceil(wait))
    elif challenge := getattr(exc, "auth_header", None):
        response["WWW-Authenticate"] = challenge
    if error.status >= 500 and not isinstance(exc, TenantFrozen):
        _log_failure(exc, response, context["request"])
    return response


def _describe_error(exc: Exception) -> ErrorResponse:
    match exc:
        case APIException():
            return ErrorResponse(exc.status_code, str(exc.detail), exc)
        case Http404():
            return ErrorResponse(404, NOT_FOUND, exc)
        case SuspiciousOperation():
            # For example a query string of thousands of parameters.
            return ErrorResponse(400, str(exc) or "Bad request", exc)
        case LimitReached(until=until):
            return ErrorResponse(403 if until is None else 429, str(exc), exc)
        case SchedulerError():
            known = (
                HTTP_STATUS[kind] for kind in type(exc).__mro__ if kind in HTTP_STATUS
            )
            return ErrorResponse(next(known, 500), str(exc), exc)
    return ErrorResponse(500, INTERNAL_ERROR, exc)


def _limit_attempts(
    error: ErrorResponse, request: Any
) -> tuple[ErrorResponse, float | None]:
    """Count a wrong credential; too many from one address turn into a 429 and a wait."""
    kind = _attempted_credential(error)
    if kind is None:
        return error, None
    address = client_address(request.META)
    if kind == CredentialKind.NOTHING:
        throttling.record_refusal(kind, address)
        return error, None
    wait = throttling.record_wrong_credential(kind, address)
    if wait is None:
        return error, None
    return error._replace(
        status=429, message=str(throttling.TooManyAttempts(wait))
    ), wait


def _attempted_credential(error: ErrorResponse) -> CredentialKind | None:
    """The kind of credential that was wrong or missing, if that is the error."""
    match error.cause:
        case InvalidCredential(kind=kind):
            return kind
        case RunAccessDenied():
            return CredentialKind.RUN
    return CredentialKind.NOTHING if error.status == 401 else None


def _render_json(error: ErrorResponse) -> HttpResponse:
    body = _error_body(error.message)
    if isinstance(error.cause, LimitReached):
        body["error"] |= _describe_limit(error.cause)
    return Response(body, status=error.status)


def _describe_limit(error: LimitReached) -> dict[str, Any]:
    return {
        "code": error.code,
        "limit": error.limit_name,
        "until": format_optional_timestamp(error.until),
    }


def _log_failure(exc: Exception, response: HttpResponse, request: Any) -> None:
    # Django's own way of logging, which marks the response so that it does so once.
    if isinstance(exc, OperationalError | InterfaceError):
        # A stack trace says nothing: the database fails for all requests.
        text = "The database failed: %s"
        log_response(text, exc, response=response, request=request, level="error")
    else:
        log_response(
            "%s failed", request.path, response=response, request=request, exception=exc
        )


def _error_body(message: str) -> dict[str, Any]:
    return {"error": {"message": message}}


# Django calls these if no view was reached, or if a view could not finish.


def json_error(message: str, status: int) -> JsonResponse:
    return JsonResponse(_error_body(message), status=status)


def bad_request(request: HttpRequest, exception: Exception) -> JsonResponse:
    return json_error("Bad request", 400)


def not_found(request: HttpRequest, exception: Exception) -> JsonResponse:
    return json_error(NOT_FOUND, 404)


def server_error(request: HttpRequest) -> JsonResponse:
    return json_error(INTERNAL_ERROR, 500)
