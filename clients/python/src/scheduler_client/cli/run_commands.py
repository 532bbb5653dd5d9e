"""The commands for runs: `scheduler runs …`, `account`, `redrive` and `backfill`."""

from __future__ import annotations

from argparse import ArgumentParser
from typing import Any

from scheduler_client import documents, formatting
from scheduler_client.cli.arguments import (
    add_idempotency_key,
    add_limit,
    add_reason_filter,
    add_run,
    add_task,
    add_task_filter,
    add_time_range,
    find_task_id,
    parse_positive_int,
)
from scheduler_client.cli.commands import CommandGroup, ExitCode, Options, UsageError
from scheduler_client.cli.output import page_size, print_result, succeed, take_limit
from scheduler_client.client import Client
from scheduler_client.models import CancelResult, RedriveResult


def add_commands(root: CommandGroup) -> None:
    group = root.add_group("runs", "list, redrive and cancel runs, end long work")
    parser = group.add_command("list", list_runs, "list runs, the newest first")
    add_task_filter(parser)
    parser.add_argument("--state", action="append", default=[], help="may be repeated")
    parser.add_argument("--notices", action="store_true", help="only runs of notices")
    add_time_range(parser)
    add_reason_filter(parser)
    _add_backfill_filter(parser)
    parser.add_argument("--lane", help="only runs in this lane")
    add_limit(parser, 100)
    add_run(group.add_command("show", show_run, "show a run with its attempts"))
    _add_redrive(group)
    _add_cancel(group)
    _add_long_work(group)
    text = "compare the planned fire times of a task, or of all, with the runs"
    parser = root.add_command("account", show_account, text)
    parser.add_argument("task", nargs="?", help="id or name of the task")
    add_time_range(parser)
    add_time_range(root.add_command("stats", show_stats, "count runs by hour"))
    _add_forecast(root)
    _add_redrive(root)
    _add_backfill(root)


def _add_forecast(root: CommandGroup) -> None:
    text = "count the coming fire times of all tasks"
    parser = root.add_command("forecast", show_forecast, text)
    add_time_range(parser)
    parser.add_argument(
        "--bucket", type=parse_positive_int, metavar="SECONDS", help="default: 3600"
    )
    parser.add_argument(
        "--by", choices=["task", "tag", "host", "lane"], help="count for each"
    )
    parser.add_argument(
        "--lane", help="all tasks of this lane, and how long its runs wait"
    )


def _add_long_work(group: CommandGroup) -> None:
    text = "report that the long work of a run has succeeded"
    parser = group.add_command("complete", complete_run, text)
    add_run(parser)
    parser.add_argument("-d", "--data", help="result of the work, as JSON")
    text = "report that the long work of a run has failed"
    parser = group.add_command("fail", fail_run, text)
    add_run(parser)
    parser.add_argument("--reason", default="", help="text that the run shows")
    parser.add_argument(
        "--no-retry", action="store_true", help="end the run, even with retries left"
    )
    text = "extend the deadline of the long work of a run"
    add_run(group.add_command("heartbeat", send_heartbeat, text))


def _add_redrive(group: CommandGroup) -> None:
    parser = group.add_command("redrive", redrive_runs, "send runs again")
    _add_bulk_filter(parser, "redrive at most so many")


def _add_cancel(group: CommandGroup) -> None:
    parser = group.add_command("cancel", cancel_runs, "cancel unfinished runs")
    _add_bulk_filter(parser, "cancel at most so many")


def _add_backfill_filter(parser: ArgumentParser) -> None:
    parser.add_argument("--backfill", metavar="ID", help="only runs of this backfill")


def _add_backfill(root: CommandGroup) -> None:
    text = "send what the fire times of some time would have sent"
    parser = root.add_command("backfill", backfill_task, text)
    add_task(parser)
    add_time_range(parser)
    parser.add_argument("--which", choices=["missed", "all"], help="default: missed")
    parser.add_argument("--pace", help="such as 20/minute; default: 60/minute")
    parser.add_argument(
        "--overlap", action="store_true", help="let runs of any task overlap"
    )
    parser.add_argument("--plan", action="store_true", help="make no run")
    parser.add_argument("--hash", help="hash of the plan that is to be carried out")
    add_idempotency_key(parser)


def _add_bulk_filter(parser: ArgumentParser, limit_help: str) -> None:
    parser.add_argument("run", nargs="*", help="ids of runs")
    parser.add_argument(
        "--state", action="append", default=[], help="or all runs in these states"
    )
    add_task_filter(parser)
    add_time_range(parser)
    add_reason_filter(parser)
    _add_backfill_filter(parser)
    parser.add_argument("--limit", type=parse_positive_int, help=limit_help)


def list_runs(client: Client, options: Options) -> int:
    found = client.list_runs(
        _find_filter_id(client, options),
        states=options.state,
        since=options.since,
        until=options.until,
        notices=options.notices,
        reason=options.reason,
        code=options.code,
        backfill=options.backfill,
        lane=options.lane,
        page_size=page_size(options),
    )
    runs = take_limit(options, found)
    return succeed(options, [run.raw for run in runs], *formatting.format_runs(runs))


def show_run(client: Client, options: Options) -> int:
    run = client.get_run(options.run)
    return succeed(options, run.raw, *formatting.format_run(run))


def show_account(client: Client, options: Options) -> int:
    if options.task is None:
        return _show_tenant_account(client, options)
    task_id = find_task_id(client, options.task)
    account = client.get_account(task_id, since=options.since, until=options.until)
    print_result(options, account.raw, formatting.format_account(account))
    return ExitCode.DIFFERENCE_FOUND if account.balance else ExitCode.SUCCESS


def _show_tenant_account(client: Client, options: Options) -> int:
    found = client.get_tenant_account(since=options.since, until=options.until)
    print_result(options, found.raw, formatting.format_tenant_account(found))
    return ExitCode.DIFFERENCE_FOUND if found.balance else ExitCode.SUCCESS


def show_stats(client: Client, options: Options) -> int:
    found = client.get_stats(since=options.since, until=options.until)
    return succeed(options, found.raw, *formatting.format_stats(found))


def show_forecast(client: Client, options: Options) -> int:
    if options.lane is not None:
        return _show_lane_forecast(client, options)
    found = client.get_forecast(
        since=options.since, until=options.until, bucket=options.bucket, by=options.by
    )
    return succeed(options, found.raw, *formatting.format_forecast(found))


def _show_lane_forecast(client: Client, options: Options) -> int:
    if options.by is not None:
        raise UsageError("The forecast of a lane is not divided: use --by or --lane")
    found = client.get_lane_forecast(
        options.lane, since=options.since, until=options.until, bucket=options.bucket
    )
    return succeed(options, found.raw, *formatting.format_lane_forecast(found))


def redrive_runs(client: Client, options: Options) -> int:
    _require_ids_or_states(options)
    if options.run:
        ids = [client.redrive_run(run_id) for run_id in options.run]
        return succeed(options, {"run_ids": ids}, *ids)
    result = client.redrive_runs(options.state, **_bulk_filter(client, options))
    return _succeed_with_runs(options, result)


def cancel_runs(client: Client, options: Options) -> int:
    _require_ids_or_states(options)
    if options.run:
        states = {run_id: client.cancel_run(run_id) for run_id in options.run}
        lines = [f"{run_id} {state}" for run_id, state in states.items()]
        return succeed(options, {"states": states}, *lines)
    result = client.cancel_runs(options.state, **_bulk_filter(client, options))
    return _succeed_with_runs(options, result)


def backfill_task(client: Client, options: Options) -> int:
    result = client.backfill_task(
        find_task_id(client, options.task),
        since=options.since,
        until=options.until,
        which=options.which,
        pace=options.pace,
        overlap="allow" if options.overlap else None,
        hash=options.hash,
        dry_run=options.plan,
        key=options.key,
    )
    return succeed(options, result.raw, *formatting.format_backfill(result))


def _require_ids_or_states(options: Options) -> None:
    if bool(options.run) == bool(options.state):
        raise UsageError("Give either the ids of runs, or --state")


def _bulk_filter(client: Client, options: Options) -> dict[str, Any]:
    return {
        "task": _find_filter_id(client, options),
        "since": options.since,
        "until": options.until,
        "reason": options.reason,
        "code": options.code,
        "backfill": options.backfill,
        "limit": options.limit,
    }


def _succeed_with_runs(options: Options, result: RedriveResult | CancelResult) -> int:
    note = ["More runs are left: repeat the command."] if result.more else []
    data = {"run_ids": result.run_ids, "more": result.more}
    return succeed(options, data, *result.run_ids, *note)


def complete_run(client: Client, options: Options) -> int:
    try:
        answer = None if options.data is None else documents.parse_json(options.data)
    except ValueError as error:
        raise UsageError(f"--data is not JSON: {error}") from None
    state = client.complete_run(options.run, answer)
    return succeed(options, {"run_id": options.run, "state": state}, state)


def fail_run(client: Client, options: Options) -> int:
    state = client.fail_run(options.run, options.reason, retry=not options.no_retry)
    return succeed(options, {"run_id": options.run, "state": state}, state)


def send_heartbeat(client: Client, options: Options) -> int:
    deadline = client.heartbeat_run(options.run)
    data = {"run_id": options.run, "deadline": deadline and deadline.isoformat()}
    return succeed(options, data, formatting.format_cell(deadline))


def _find_filter_id(client: Client, options: Options) -> str | None:
    return find_task_id(client, options.task) if options.task else None
