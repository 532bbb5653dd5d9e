"""The command `scheduler`: tasks, runs, accounts, plans, and a receiver for trying."""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any
from uuid import UUID

from scheduler_client import documents, formatting, receiver, task_files
from scheduler_client.cli import access_commands
from scheduler_client.cli.output import (
    Add,
    Options,
    add_limit,
    add_span,
    done,
    page_of,
    positive,
    say,
    some,
    tell,
)
from scheduler_client.client import Client
from scheduler_client.errors import ApiError, SchedulerError, Unreachable
from scheduler_client.models import Plan
from scheduler_client.webhooks import key_of

# Refused by the service; said wrongly; not reached; found what was looked for: changes
# in a plan with --check, or an account whose sum is not zero.
REFUSED, USAGE, UNREACHABLE, FOUND = 1, 2, 3, 4


class UsageError(Exception):
    """What was said cannot be done; the text says why."""


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one command; returns its exit code."""
    options = _parser().parse_args(arguments)
    try:
        if options.command is _listen:
            _listen(options)
            return 0
        if not options.server or not options.token:
            raise UsageError(
                "Set SCHEDULER_URL and SCHEDULER_TOKEN, or --server and --token"
            )
        with Client(
            options.server,
            options.token,
            timeout=options.server_timeout,
            retries=options.server_retries,
        ) as client:
            code: int = options.command(client, options)
            return code
    except ApiError as error:
        _complain(f"{error.status}: {error.message}")
        for task in error.tasks[1:]:
            _complain(f"tasks[{task['index']}]: {task['message']}")
        return REFUSED
    except Unreachable as error:
        _complain(str(error))
        return UNREACHABLE
    except (UsageError, task_files.FileError, SchedulerError, ValueError) as error:
        _complain(str(error))
        return USAGE
    except BrokenPipeError:
        # Such as `| head`. Python would complain once more when it flushes at its end.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 0
    except KeyboardInterrupt:
        return 130


def _complain(text: str) -> None:
    print(f"scheduler: {formatting.printable(text, 2000)}", file=sys.stderr)


# Tasks.


def _list(client: Client, options: Options) -> int:
    found = client.list(
        name=options.name,
        tags=options.tag,
        state=options.state,
        task_type=options.type,
        owner=options.owner,
        page=page_of(options),
    )
    tasks = some(options, found)
    tell(options, [each.raw for each in tasks], formatting.tasks(tasks))
    return 0


def _show(client: Client, options: Options) -> int:
    task = client.get(_id_of(client, options.task))
    tell(options, task.raw, formatting.details({**task.raw, "etag": task.etag}))
    return 0


def _create(client: Client, options: Options) -> int:
    said = _fields(options)
    if isinstance(said, list):
        ids = client.create_many(
            [task_files.typed(each) for each in said], key=options.key
        )
        tell(options, {"ids": ids}, ids)
        return 0
    created = client.create(task_files.typed(said), key=options.key)
    return done(options, {"id": created.id, "etag": created.etag}, created.id)


def _put(client: Client, options: Options) -> int:
    task = client.by_name.put(options.name, task_files.typed(_object(options)))
    return done(options, task.raw, task.id)


def _change(client: Client, options: Options) -> int:
    task_id = _id_of(client, options.task)
    task = client.change(task_id, _object(options), if_match=options.if_match)
    tell(options, task.raw, formatting.details({**task.raw, "etag": task.etag}))
    return 0


def _remove(client: Client, options: Options) -> int:
    for task in options.tasks:
        client.remove(_id_of(client, task))
    return done(options, {"removed": options.tasks}, f"{len(options.tasks)} removed")


def _pause(client: Client, options: Options) -> int:
    client.pause([_id_of(client, task) for task in options.tasks])
    return done(options, {"paused": options.tasks}, f"{len(options.tasks)} paused")


def _resume(client: Client, options: Options) -> int:
    client.resume([_id_of(client, task) for task in options.tasks])
    return done(options, {"resumed": options.tasks}, f"{len(options.tasks)} resumed")


def _run(client: Client, options: Options) -> int:
    run_id = client.run(_id_of(client, options.task), key=options.key)
    return done(options, {"run_id": run_id}, run_id)


def _next(client: Client, options: Options) -> int:
    found = client.next(_id_of(client, options.task), options.n)
    tell(options, found.raw, formatting.fire_times(found))
    return 0


def _preview(client: Client, options: Options) -> int:
    # Where it goes does not matter to when it goes.
    task = {"url": "https://example.com/", **task_files.typed(_object(options))}
    if task.get("queue"):
        del task["url"]
    found = client.preview(task, n=options.n, since=options.since)
    tell(options, found.raw, formatting.fire_times(found))
    return 0


def _id_of(client: Client, task: str) -> str:
    """The id of a task that was named by it, or by its name."""
    try:
        UUID(task)
    except ValueError:
        return client.by_name.get(task).id
    return task


def _object(options: Options) -> dict[str, Any]:
    said = _fields(options)
    if isinstance(said, list):
        raise UsageError("One task is wanted, and not a list")
    return said


def _fields(options: Options) -> dict[str, Any] | list[dict[str, Any]]:
    """What a file says, with --data and the options of fields in its place."""
    said: Any = {}
    if options.file:
        said = task_files.parse(_path(options.file))
    if isinstance(said, list):
        return said
    if options.data:
        try:
            said = {**said, **documents.read_json(options.data)}
        except (ValueError, TypeError) as error:
            raise UsageError(f"--data is not a JSON object: {error}") from None
    if not isinstance(said, dict):
        raise UsageError("A task is an object")
    given = {name: getattr(options, f"f_{name}", None) for name in _OPTIONAL_FIELDS}
    if (retries := getattr(options, "f_retries", None)) is not None:
        given["retry"] = {"max_attempts": retries + 1}
    return {**said, **{name: each for name, each in given.items() if each is not None}}


# The fields of a task that have an option of their own.
_OPTIONAL_FIELDS = (
    "url",
    "queue",
    "method",
    "name",
    "tags",
    "cron",
    "timezone",
    "frequency",
    "run_datetime",
    "start_datetime",
    "end_datetime",
    "timeout_seconds",
)


def _path(file: str) -> Path:
    return Path("/dev/stdin") if file == "-" else Path(file)


# Runs.


def _runs(client: Client, options: Options) -> int:
    task = options.task and _id_of(client, options.task)
    found = client.runs(
        task or None,
        states=options.state,
        since=options.since,
        until=options.until,
        notices=options.notices,
        page=page_of(options),
    )
    runs = some(options, found)
    tell(options, [each.raw for each in runs], formatting.runs(runs))
    return 0


def _show_run(client: Client, options: Options) -> int:
    run = client.run_detail(options.run)
    tell(options, run.raw, formatting.run(run))
    return 0


def _account(client: Client, options: Options) -> int:
    task = _id_of(client, options.task)
    found = client.account(task, since=options.since, until=options.until)
    tell(options, found.raw, formatting.account(found))
    return FOUND if found.balance else 0


def _redrive(client: Client, options: Options) -> int:
    if bool(options.run) == bool(options.state):
        raise UsageError("Say which runs: their ids, or --state")
    if options.run:
        ids = [client.redrive(each) for each in options.run]
        tell(options, {"run_ids": ids}, ids)
        return 0
    made = client.redrive_many(
        options.state,
        task=options.task and _id_of(client, options.task),
        since=options.since,
        until=options.until,
        limit=options.limit,
    )
    more = ["There are more; say it again."] if made.more else []
    data = {"run_ids": made.run_ids, "more": made.more}
    tell(options, data, [*made.run_ids, *more])
    return 0


def _complete(client: Client, options: Options) -> int:
    try:
        answer = None if options.data is None else documents.read_json(options.data)
    except ValueError as error:
        raise UsageError(f"--data is not JSON: {error}") from None
    state = client.complete(options.run, answer)
    return done(options, {"run_id": options.run, "state": state}, state)


def _fail(client: Client, options: Options) -> int:
    state = client.fail(options.run, options.reason, retry=not options.no_retry)
    return done(options, {"run_id": options.run, "state": state}, state)


def _heartbeat(client: Client, options: Options) -> int:
    deadline = client.heartbeat(options.run)
    data = {"run_id": options.run, "deadline": deadline and deadline.isoformat()}
    return done(options, data, formatting.text(deadline))


# Plans.


def _plan(client: Client, options: Options) -> int:
    declared = task_files.load(_path(options.file), os.environ)
    plan = client.plan(declared.tag, declared.tasks)
    tell(options, plan.raw, _planned(plan))
    return FOUND if options.check and plan.has_changes else 0


def _planned(plan: Plan) -> Iterator[str]:
    yield from formatting.plan(plan)
    if plan.has_changes:
        yield f"To do just this: scheduler apply -f … --plan {plan.plan}"


def _apply(client: Client, options: Options) -> int:
    declared = task_files.load(_path(options.file), os.environ)
    expected = options.plan
    if expected is None:
        plan = client.plan(declared.tag, declared.tasks)
        if not plan.has_changes:
            tell(options, plan.raw, formatting.plan(plan))
            return 0
        if not options.yes:
            if options.json or not sys.stdin.isatty():
                raise UsageError("Nobody can be asked: say --yes, or --plan")
            say(formatting.plan(plan))
            if input("Do this? [y/N] ").strip().lower() not in ("y", "yes"):
                return REFUSED
        expected = plan.plan
    applied = client.apply(declared.tag, declared.tasks, plan=expected)
    tell(options, applied.raw, formatting.plan(applied))
    return 0


# A receiver.


def _listen(options: Options) -> None:
    secrets = options.secret or os.environ.get("SCHEDULER_SECRET", "").split()
    for secret in secrets:
        key_of(secret)
    manner = receiver.Manner(
        secrets, options.status, options.delay, options.times, options.count
    )
    write = receiver.as_json if options.json else receiver.as_line

    def heard(told: dict[str, Any]) -> None:
        print(write(told), flush=True)

    def ready(url: str) -> None:
        unchecked = "" if secrets else ", and checks no signature: give it a --secret"
        print(f"Listening at {url}{unchecked}", file=sys.stderr, flush=True)

    try:
        receiver.serve(options.host, options.port, manner, heard, ready)
    except OSError as error:
        raise UsageError(f"{options.host}:{options.port}: {error.strerror}") from None


# What may be said.


def _parser() -> argparse.ArgumentParser:
    common = argparse.ArgumentParser(add_help=False)
    # Named after the server, because --url, --timeout and --retries are a task's own.
    common.add_argument(
        "--server",
        default=os.environ.get("SCHEDULER_URL"),
        metavar="URL",
        help="where the service is; or set SCHEDULER_URL",
    )
    common.add_argument(
        "--token",
        default=os.environ.get("SCHEDULER_TOKEN"),
        help="better given as SCHEDULER_TOKEN, which other users cannot see",
    )
    common.add_argument(
        "--server-timeout",
        type=float,
        default=30.0,
        metavar="SECONDS",
        help="how long to wait for an answer of the service",
    )
    common.add_argument(
        "--server-retries",
        type=int,
        default=4,
        metavar="N",
        help="how often to ask the service again when no answer comes",
    )
    common.add_argument("--json", action="store_true", help="answer as JSON")
    parser = argparse.ArgumentParser(
        prog="scheduler",
        allow_abbrev=False,
        description=__doc__,
        epilog="It exits with 0, with 1 if the service refused, 2 if what was said is "
        "wrong, 3 if there was no answer, and 4 if a plan --check has changes or the "
        "sum of an account is not zero.",
    )
    commands = parser.add_subparsers(required=True, metavar="command")

    def add(
        group: Any, name: str, command: Callable[..., int | None], text: str
    ) -> argparse.ArgumentParser:
        made: argparse.ArgumentParser = group.add_parser(
            name, parents=[common], help=text, description=text, allow_abbrev=False
        )
        made.set_defaults(command=command)
        return made

    def group(name: str, text: str) -> Any:
        made = commands.add_parser(name, help=text, description=text)
        return made.add_subparsers(required=True, metavar="command")

    _add_tasks(group("tasks", "list, make, change and remove tasks"), add)
    _add_runs(group("runs", "list runs, look at one, send again, end long work"), add)
    access_commands.add_to(commands, group, add)

    one = add(commands, "next", _next, "show the coming fire times of a task")
    one.add_argument("task", help="its id or name")
    one.add_argument("-n", type=int, default=20)
    one = add(commands, "preview", _preview, "show the fire times a task would have")
    _add_fields(one)
    one.add_argument("-n", type=int, default=20)
    one.add_argument("--from", dest="since", metavar="MOMENT")
    one = add(commands, "account", _account, "compare what was planned with what was")
    one.add_argument("task", help="its id or name")
    add_span(one)
    _add_redrive(add(commands, "redrive", _redrive, "send runs again"))

    one = add(commands, "plan", _plan, "show what a file of tasks would change")
    one.add_argument("-f", "--file", required=True, help="YAML or JSON; - is stdin")
    one.add_argument("--check", action="store_true", help="exit with 4 on changes")
    one = add(commands, "apply", _apply, "make the tasks with a tag what a file says")
    one.add_argument("-f", "--file", required=True, help="YAML or JSON; - is stdin")
    one.add_argument("--yes", action="store_true", help="do not ask")
    one.add_argument("--plan", help="do what this plan showed, or nothing")

    one = add(commands, "listen", _listen, "receive requests, verify and print them")
    one.add_argument("--host", default="127.0.0.1")
    one.add_argument("--port", type=int, default=8001)
    one.add_argument(
        "--secret", action="append", help="whsec_…; or set SCHEDULER_SECRET"
    )
    one.add_argument("--status", type=int, default=200, help="to answer with")
    one.add_argument("--delay", type=float, default=0.0, help="seconds to the answer")
    one.add_argument("--times", type=int, help="do so this often, then answer 200")
    one.add_argument("--count", type=positive, help="stop after so many requests")
    return parser


def _add_tasks(group: Any, add: Add) -> None:
    one = add(group, "list", _list, "list tasks")
    one.add_argument("--name")
    one.add_argument("--tag", action="append", default=[])
    one.add_argument("--state", choices=["active", "paused"])
    one.add_argument("--type", choices=["periodic", "one_time"])
    one.add_argument("--owner", help="for administrators: a user, or all")
    add_limit(one, 1000)
    one = add(group, "show", _show, "show a task")
    one.add_argument("task", help="its id or name")
    one = add(group, "create", _create, "make a task, or a list of them from a file")
    _add_fields(one)
    one.add_argument("--key", help="an idempotency key")
    one = add(group, "put", _put, "make the task of a name, or make it just this")
    one.add_argument("name")
    _add_fields(one, named=False)
    one = add(group, "change", _change, "change some fields of a task")
    one.add_argument("task", help="its id or name")
    _add_fields(one)
    one.add_argument("--if-match", help="the ETag that it must have")
    for name, command, text in (
        ("remove", _remove, "remove tasks"),
        ("pause", _pause, "pause tasks, all of them or none"),
        ("resume", _resume, "resume tasks, all of them or none"),
    ):
        one = add(group, name, command, text)
        one.add_argument("tasks", nargs="+", metavar="task", help="its id or name")
    one = add(group, "run", _run, "run a task now, beside its schedule")
    one.add_argument("task", help="its id or name")
    one.add_argument("--key", help="an idempotency key")


def _add_fields(parser: argparse.ArgumentParser, *, named: bool = True) -> None:
    parser.add_argument("-f", "--file", help="its fields, in YAML or JSON; - is stdin")
    parser.add_argument("-d", "--data", help="its fields, as a JSON object")
    parser.add_argument("--url", dest="f_url", help="the URL that the task calls")
    parser.add_argument("--queue", dest="f_queue")
    parser.add_argument("--method", dest="f_method")
    parser.add_argument("--cron", dest="f_cron")
    parser.add_argument("--timezone", dest="f_timezone")
    parser.add_argument(
        "--every",
        dest="f_frequency",
        metavar="SECONDS",
        type=positive,
        help="again and again; from --start to --end, where those are given",
    )
    parser.add_argument(
        "--at", dest="f_run_datetime", metavar="MOMENT", help="once, then"
    )
    parser.add_argument("--start", dest="f_start_datetime", metavar="MOMENT")
    parser.add_argument("--end", dest="f_end_datetime", metavar="MOMENT")
    parser.add_argument("--tag", dest="f_tags", action="append")
    parser.add_argument(
        "--timeout",
        dest="f_timeout_seconds",
        metavar="SECONDS",
        type=int,
        help="how long the target may take",
    )
    parser.add_argument(
        "--retries",
        dest="f_retries",
        metavar="N",
        type=int,
        help="how often a request that failed is sent again",
    )
    if named:
        parser.add_argument("--name", dest="f_name")


def _add_runs(group: Any, add: Add) -> None:
    one = add(group, "list", _runs, "list runs, the newest fire time first")
    one.add_argument("--task", help="of this task, by its id or name")
    one.add_argument("--state", action="append", default=[])
    one.add_argument("--notices", action="store_true", help="of notices alone")
    add_span(one)
    add_limit(one, 100)
    one = add(group, "show", _show_run, "show a run with its attempts")
    one.add_argument("run", help="its id")
    _add_redrive(add(group, "redrive", _redrive, "send runs again"))
    one = add(group, "complete", _complete, "say that the long work of a run is done")
    one.add_argument("run", help="its id")
    one.add_argument("-d", "--data", help="what came of it, as JSON")
    one = add(group, "fail", _fail, "say that the long work of a run has failed")
    one.add_argument("run", help="its id")
    one.add_argument("--reason", default="")
    one.add_argument("--no-retry", action="store_true", help="whatever its task says")
    one = add(group, "heartbeat", _heartbeat, "put the deadline of long work off")
    one.add_argument("run", help="its id")


def _add_redrive(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("run", nargs="*", help="the ids of runs")
    parser.add_argument("--state", action="append", default=[], help="or all of these")
    parser.add_argument("--task", help="of this task, by its id or name")
    add_span(parser)
    parser.add_argument("--limit", type=positive)


if __name__ == "__main__":
    sys.exit(main())
