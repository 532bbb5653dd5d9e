"""The products by which the OpenAPI document groups its operations."""

from __future__ import annotations

from enum import StrEnum


class Product(StrEnum):
    """The groups in the order of the document."""

    TASKS = "Tasks"
    RUNS = "Runs"
    LONG_WORK = "Long work"
    CRON_JOBS = "Cron jobs"
    TIMERS = "Timers"
    REST_JOBS = "Rest jobs"
    PULL_QUEUE = "Pull queue"
    LANES = "Lanes"
    CHANNELS = "Channels"
    ACCESS = "Access"
    OPERATIONS = "Operations"


PRODUCT_DESCRIPTIONS = {
    Product.TASKS: "HTTP requests that the service sends for you, once or periodically: "
    "create, find, change, pause, resume and remove them, and preview when they fire.",
    Product.RUNS: "The outcome of each fire time: runs with their attempts, the account of "
    "planned and delivered runs, and sending runs again.",
    Product.LONG_WORK: "For targets that answer 202 and report later how the work went, "
    "with the token of the request.",
    Product.CRON_JOBS: "The service posts a payload to an endpoint by cron expression. A job "
    "never overlaps with itself. Errors are one sentence of plain text.",
    Product.TIMERS: "Messages to the one callback URL of your tenant, each at a moment or "
    "by cron expression. Requests carry the tenant's secret in `Scheduler-Secret`, and "
    "errors are one sentence of plain text.",
    Product.REST_JOBS: "One HTTP request at one moment, and its status afterwards.",
    Product.PULL_QUEUE: "Jobs that your consumers fetch instead of being called: the service "
    "leases each job to one consumer, and makes it available again if that consumer dies. Errors are one sentence of "
    "plain text. Every path also answers after `/v1`.",
    Product.LANES: "Limits that tasks of a target keep together: how fast requests start, how "
    "many are under way at once, and when none may start. What is over the limit waits. "
    "Administrators change lanes, and every user may read them and name them in tasks.",
    Product.CHANNELS: "Where your tenant is told of failed, late and missed runs and of tasks "
    "that the service paused: channels such as mail, Slack and web hooks, and rules that say "
    "what is told where. Administrators change them, and every user may read them.",
    Product.ACCESS: "Tokens, users, signing secrets and the audit log of your tenant. Users, "
    "secrets and the log need an administrator's token of scope `admin`.",
    Product.OPERATIONS: "Whether the service is alive and ready, for load balancers and "
    "operators. No credentials are needed.",
}
