"""All URLs. Each works with and without a trailing slash, without a redirect."""

from __future__ import annotations

from collections.abc import Callable

from django.contrib import admin
from django.http.response import HttpResponseBase
from django.urls import URLPattern, include, path, re_path
from rest_framework.views import APIView

from console.account import account as account_page
from console.cron.views import cron_page
from console.front import with_front_page, with_page
from scheduler_service.http import guide
from tasks_api.admin.cells import cells_view
from tasks_api.api.access import audit_log, signing_secrets, tokens, usage, users
from tasks_api.api.calendars import calendars
from tasks_api.api.channels import channels, rules
from tasks_api.api.cron_jobs import views as cron_jobs
from tasks_api.api.lanes import views as lanes
from tasks_api.api.ops import document, health, metrics
from tasks_api.api.pull_queue import queues
from tasks_api.api.pull_queue import views as pull_queue
from tasks_api.api.rest_jobs import views as rest_jobs
from tasks_api.api.tasks import (
    apply,
    backfills,
    bulk_change,
    control,
    long_work,
    overview,
    preview,
    runs,
    why,
)
from tasks_api.api.tasks import views as tasks
from tasks_api.api.tasks.lane_forecast import LaneForecastView
from tasks_api.api.timers import views as timers

handler400 = "tasks_api.api.errors.bad_request"
handler404 = "tasks_api.api.errors.not_found"
handler500 = "tasks_api.api.errors.server_error"


def _route(route: str, view: Callable[..., HttpResponseBase], name: str) -> URLPattern:
    return re_path(rf"^{route}/?\Z", view, name=name)


def _versioned_routes(route: str, view: type[APIView], name: str) -> list[URLPattern]:
    """The route with and without a prefix; the schema names it once."""
    return [
        _route(route, view.as_view(), name),
        _route(f"v1/{route}", view.as_view(schema=None), f"{name}-v1"),
    ]


urlpatterns = [
    _route("healthz", health.healthz, "healthz"),
    _route("readyz", health.readyz, "readyz"),
    _route("metrics", metrics.metrics, "metrics"),
    _route("tasks", tasks.TaskList.as_view(), "tasks"),
    # Before the ids, which could be any text.
    _route("tasks/pause", control.PauseTasks.as_view(), "pause-tasks"),
    _route("tasks/resume", control.ResumeTasks.as_view(), "resume-tasks"),
    _route("tasks/bulk", tasks.TaskBulk.as_view(), "create-tasks"),
    # A name may hold any character; one slash at the end is not the name's.
    _route(
        r"tasks/by-name/(?P<name>[\s\S]+?)", tasks.NamedTask.as_view(), "named-task"
    ),
    _route("tasks/change", bulk_change.ChangeTasks.as_view(), "change-tasks"),
    _route("tasks/apply", apply.ApplyTasks.as_view(), "apply-tasks"),
    _route("tasks/preview", preview.PreviewTask.as_view(), "preview-task"),
    _route("tasks/id/(?P<task_id>[^/]+)", tasks.TaskDetail.as_view(), "task"),
    # A second path for the same view; the schema names it once.
    _route(
        "tasks/(?P<task_id>[^/]+)", tasks.TaskDetail.as_view(schema=None), "task-alias"
    ),
    _route("tasks/(?P<task_id>[^/]+)/pause", control.PauseTask.as_view(), "pause-task"),
    _route(
        "tasks/(?P<task_id>[^/]+)/resume", control.ResumeTask.as_view(), "resume-task"
    ),
    _route("tokens", tokens.TokenList.as_view(), "tokens"),
    _route("tokens/(?P<token_id>[^/]+)", tokens.TokenDetail.as_view(), "token"),
    _route(
        "tokens/(?P<token_id>[^/]+)/rotate",
        tokens.RotateToken.as_view(),
        "rotate-token",
    ),
    _route(
        "tokens/(?P<token_id>[^/]+)/renew", tokens.RenewToken.as_view(), "renew-token"
    ),
    _route("usage", usage.UsageView.as_view(), "usage"),
    _route("users", users.UserList.as_view(), "users"),
    _route(
        "users/(?P<name>.+?)/transfer",
        users.TransferTasks.as_view(),
        "transfer-tasks",
    ),
    # A name may have a slash in it.
    _route("users/(?P<name>.+?)", users.UserDetail.as_view(), "user"),
    _route(
        "signing-secrets",
        signing_secrets.SigningSecretList.as_view(),
        "signing-secrets",
    ),
    _route(
        "signing-secrets/rotate",
        signing_secrets.RotateSigningSecret.as_view(),
        "rotate-signing-secret",
    ),
    _route("lanes", lanes.LaneList.as_view(), "lanes"),
    _route("lanes/(?P<lane>[^/]+)", lanes.LaneDetail.as_view(), "lane"),
    _route("lanes/(?P<lane>[^/]+)/pause", lanes.PauseLane.as_view(), "pause-lane"),
    _route("lanes/(?P<lane>[^/]+)/resume", lanes.ResumeLane.as_view(), "resume-lane"),
    _route(
        "lanes/(?P<lane>[^/]+)/forecast", LaneForecastView.as_view(), "lane-forecast"
    ),
    _route("channels", channels.ChannelList.as_view(), "channels"),
    _route(
        "channels/(?P<channel_id>[^/]+)", channels.ChannelDetail.as_view(), "channel"
    ),
    _route(
        "channels/(?P<channel_id>[^/]+)/test",
        channels.TestChannel.as_view(),
        "test-channel",
    ),
    _route("calendars", calendars.CalendarList.as_view(), "calendars"),
    _route("calendars/(?P<name>[^/]+)", calendars.CalendarDetail.as_view(), "calendar"),
    _route(
        "calendars/(?P<name>[^/]+)/versions",
        calendars.CalendarVersions.as_view(),
        "calendar-versions",
    ),
    _route(
        "calendars/(?P<name>[^/]+)/days",
        calendars.CalendarDays.as_view(),
        "calendar-days",
    ),
    _route(
        "calendars/(?P<name>[^/]+)/preview",
        calendars.PreviewCalendar.as_view(),
        "preview-calendar",
    ),
    _route(
        "calendars/(?P<name>[^/]+)/import",
        calendars.ImportCalendar.as_view(),
        "import-calendar",
    ),
    _route("rules", rules.RuleList.as_view(), "rules"),
    _route("rules/(?P<rule_id>[^/]+)", rules.RuleDetail.as_view(), "rule"),
    _route("audit", audit_log.AuditLog.as_view(), "audit"),
    _route("tasks/(?P<task_id>[^/]+)/run", control.RunTask.as_view(), "run-task"),
    _route(
        "tasks/(?P<task_id>[^/]+)/backfill",
        backfills.BackfillTask.as_view(),
        "backfill-task",
    ),
    _route(
        "tasks/(?P<task_id>[^/]+)/next",
        preview.NextFireTimes.as_view(),
        "next-fire-times",
    ),
    _route(
        "tasks/(?P<task_id>[^/]+)/runs",
        runs.TaskRunList.as_view(),
        "task-runs",
    ),
    _route("tasks/(?P<task_id>[^/]+)/why", why.WhyView.as_view(), "task-why"),
    _route(
        "tasks/(?P<task_id>[^/]+)/account",
        runs.TaskAccount.as_view(),
        "task-account",
    ),
    _route("stats", overview.RunStats.as_view(), "stats"),
    _route("forecast", overview.ForecastView.as_view(), "forecast"),
    _route(
        "account",
        with_page(overview.TenantAccountView.as_view(), account_page),
        "tenant-account",
    ),
    _route("runs", runs.RunList.as_view(), "runs"),
    _route("runs/redrive", runs.RedriveRuns.as_view(), "redrive-runs"),
    _route("runs/cancel", runs.CancelRuns.as_view(), "cancel-runs"),
    _route("runs/(?P<run_id>[^/]+)", runs.RunDetail.as_view(), "run"),
    _route(
        "runs/(?P<run_id>[^/]+)/redrive",
        runs.RedriveRun.as_view(),
        "redrive-run",
    ),
    _route(
        "runs/(?P<run_id>[^/]+)/cancel",
        runs.CancelRun.as_view(),
        "cancel-run",
    ),
    _route(
        "runs/(?P<run_id>[^/]+)/complete",
        long_work.CompleteRun.as_view(),
        "complete-run",
    ),
    _route("runs/(?P<run_id>[^/]+)/fail", long_work.FailRun.as_view(), "fail-run"),
    _route(
        "runs/(?P<run_id>[^/]+)/heartbeat",
        long_work.HeartbeatRun.as_view(),
        "heartbeat-run",
    ),
    _route("", with_front_page(cron_jobs.CronJobs.as_view()), "cron-jobs"),
    _route("insert", timers.InsertTimer.as_view(), "insert-timer"),
    _route("delete", timers.DeleteTimer.as_view(), "delete-timer"),
    _route(
        "cron",
        # Timers are replaced by POST; a browser reads what an expression means.
        with_page(timers.ReplaceCrons.as_view(), cron_page),
        "replace-crons",
    ),
    _route("api/v1/jobs", rest_jobs.JobList.as_view(), "rest-jobs"),
    _route("api/v1/jobs/(?P<job_id>[^/]+)", rest_jobs.JobDetail.as_view(), "rest-job"),
    *_versioned_routes("enqueue", pull_queue.EnqueueJob, "enqueue-job"),
    *_versioned_routes("enqueue/batch", pull_queue.EnqueueJobs, "enqueue-jobs"),
    *_versioned_routes("next", pull_queue.NextJobs, "next-jobs"),
    *_versioned_routes("heartbeat", pull_queue.ExtendJob, "extend-job"),
    *_versioned_routes("reschedule", pull_queue.RescheduleJob, "reschedule-job"),
    *_versioned_routes("complete", pull_queue.CompleteJob, "complete-job"),
    _route("queues", queues.QueueList.as_view(), "queues"),
    _route("queues/messages", queues.MessageList.as_view(), "queue-messages"),
    _route("queues/requeue", queues.RequeueExhausted.as_view(), "requeue-exhausted"),
    _route("queues/purge", queues.PurgeQueue.as_view(), "purge-queue"),
    *_versioned_routes("health", pull_queue.QueueHealth, "health"),
    _route(r"openapi\.json", document.openapi, "openapi"),
    _route("docs", document.Docs.as_view(), "docs"),
    path("admin", admin.site.admin_view(admin.site.index), name="admin"),
    path("admin/cells/", admin.site.admin_view(cells_view), name="cells"),
    path("admin/", admin.site.urls),
    path("", include(guide.urlpatterns)),
    path("", include("console.urls")),
]
