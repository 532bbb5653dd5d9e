"""All URLs. Each works with and without a trailing slash, without a redirect."""

from __future__ import annotations

from collections.abc import Callable

from django.contrib import admin
from django.http.response import HttpResponseBase
from django.urls import URLPattern, path, re_path
from rest_framework.views import APIView

from tasks_api.api.access import audit_log, signing_secrets, tokens, users
from tasks_api.api.cron_jobs import views as cron_jobs
from tasks_api.api.ops import document, health, metrics
from tasks_api.api.pull_queue import views as pull_queue
from tasks_api.api.rest_jobs import views as rest_jobs
from tasks_api.api.tasks import (
    apply,
    control,
    long_work,
    preview,
    runs,
)
from tasks_api.api.tasks import views as tasks
from tasks_api.api.timers import views as timers

handler400 = "tasks_api.api.errors.bad_request"
handler404 = "tasks_api.api.errors.not_found"
handler500 = "tasks_api.api.errors.server_error"


def _both(route: str, view: Callable[..., HttpResponseBase], name: str) -> URLPattern:
    return re_path(rf"^{route}/?\Z", view, name=name)


def _versioned(route: str, view: type[APIView], name: str) -> list[URLPattern]:
    """The route with and without a prefix; the schema names it once."""
    return [
        _both(route, view.as_view(), name),
        _both(f"v1/{route}", view.as_view(schema=None), f"{name}-v1"),
    ]


urlpatterns = [
    _both("healthz", health.healthz, "healthz"),
    _both("readyz", health.readyz, "readyz"),
    _both("metrics", metrics.metrics, "metrics"),
    _both("tasks", tasks.TaskList.as_view(), "tasks"),
    # Before the ids, which could be any text.
    _both("tasks/pause", control.PauseTasks.as_view(), "pause-tasks"),
    _both("tasks/resume", control.ResumeTasks.as_view(), "resume-tasks"),
    _both("tasks/bulk", tasks.TaskBulk.as_view(), "create-tasks"),
    # A name may hold any character; one slash at the end is not the name's.
    _both(r"tasks/by-name/(?P<name>[\s\S]+?)", tasks.NamedTask.as_view(), "named-task"),
    _both("tasks/apply", apply.ApplyTasks.as_view(), "apply-tasks"),
    _both("tasks/preview", preview.PreviewTask.as_view(), "preview-task"),
    _both("tasks/id/(?P<task_id>[^/]+)", tasks.TaskDetail.as_view(), "task"),
    # A second path for the same view; the schema names it once.
    _both(
        "tasks/(?P<task_id>[^/]+)", tasks.TaskDetail.as_view(schema=None), "task-alias"
    ),
    _both("tasks/(?P<task_id>[^/]+)/pause", control.PauseTask.as_view(), "pause-task"),
    _both(
        "tasks/(?P<task_id>[^/]+)/resume", control.ResumeTask.as_view(), "resume-task"
    ),
    _both("tokens", tokens.TokenList.as_view(), "tokens"),
    _both("tokens/(?P<token_id>[^/]+)", tokens.TokenDetail.as_view(), "token"),
    _both(
        "tokens/(?P<token_id>[^/]+)/rotate",
        tokens.RotateToken.as_view(),
        "rotate-token",
    ),
    _both("users", users.UserList.as_view(), "users"),
    _both(
        "users/(?P<name>.+?)/transfer",
        users.TransferTasks.as_view(),
        "transfer-tasks",
    ),
    # A name may have a slash in it.
    _both("users/(?P<name>.+?)", users.UserDetail.as_view(), "user"),
    _both(
        "signing-secrets",
        signing_secrets.SigningSecretList.as_view(),
        "signing-secrets",
    ),
    _both(
        "signing-secrets/rotate",
        signing_secrets.RotateSigningSecret.as_view(),
        "rotate-signing-secret",
    ),
    _both("audit", audit_log.AuditLog.as_view(), "audit"),
    _both("tasks/(?P<task_id>[^/]+)/run", control.RunTask.as_view(), "run-task"),
    _both(
        "tasks/(?P<task_id>[^/]+)/next",
        preview.NextFireTimes.as_view(),
        "next-fire-times",
    ),
    _both(
        "tasks/(?P<task_id>[^/]+)/runs",
        runs.TaskRunList.as_view(),
        "task-runs",
    ),
    _both(
        "tasks/(?P<task_id>[^/]+)/account",
        runs.TaskAccount.as_view(),
        "task-account",
    ),
    _both("runs", runs.RunList.as_view(), "runs"),
    _both("runs/redrive", runs.RedriveRuns.as_view(), "redrive-runs"),
    _both("runs/(?P<run_id>[^/]+)", runs.RunDetail.as_view(), "run"),
    _both(
        "runs/(?P<run_id>[^/]+)/redrive",
        runs.RedriveRun.as_view(),
        "redrive-run",
    ),
    _both(
        "runs/(?P<run_id>[^/]+)/complete",
        long_work.CompleteRun.as_view(),
        "complete-run",
    ),
    _both("runs/(?P<run_id>[^/]+)/fail", long_work.FailRun.as_view(), "fail-run"),
    _both(
        "runs/(?P<run_id>[^/]+)/heartbeat",
        long_work.HeartbeatRun.as_view(),
        "heartbeat-run",
    ),
    _both("", cron_jobs.CronJobs.as_view(), "cron-jobs"),
    _both("insert", timers.InsertTimer.as_view(), "insert-timer"),
    _both("delete", timers.DeleteTimer.as_view(), "delete-timer"),
    _both("cron", timers.ReplaceCrons.as_view(), "replace-crons"),
    _both("api/v1/jobs", rest_jobs.JobList.as_view(), "rest-jobs"),
    _both("api/v1/jobs/(?P<job_id>[^/]+)", rest_jobs.JobDetail.as_view(), "rest-job"),
    *_versioned("enqueue", pull_queue.EnqueueJob, "enqueue-job"),
    *_versioned("enqueue/batch", pull_queue.EnqueueJobs, "enqueue-jobs"),
    *_versioned("next", pull_queue.NextJobs, "next-jobs"),
    *_versioned("heartbeat", pull_queue.ExtendJob, "extend-job"),
    *_versioned("reschedule", pull_queue.RescheduleJob, "reschedule-job"),
    *_versioned("complete", pull_queue.CompleteJob, "complete-job"),
    *_versioned("health", pull_queue.QueueHealth, "health"),
    _both(r"openapi\.json", document.openapi, "openapi"),
    _both("docs", document.Docs.as_view(), "docs"),
    path("admin", admin.site.admin_view(admin.site.index), name="admin"),
    path("admin/", admin.site.urls),
]
