"""The commands for being told: `scheduler channels …` and `scheduler rules …`."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Iterable, Iterator
from typing import Any

from scheduler_client import formatting
from scheduler_client.cli.arguments import parse_positive_int
from scheduler_client.cli.commands import CommandGroup, Options, UsageError
from scheduler_client.cli.output import succeed
from scheduler_client.client import Client
from scheduler_client.models import Channel, Rule

# Options that may be secrets; `-` reads one from standard input.
_SECRETS = ("url", "routing_key", "access_token")
_RULE_FIELDS = ("task_id", "tag", "streak", "late_after", "digest_seconds")


def add_commands(root: CommandGroup) -> None:
    channels = root.add_group("channels", "where the tenant is told of events")
    channels.add_command("list", list_channels, "list the channels")
    for name, command, text in (
        ("show", show_channel, "show a channel"),
        ("test", test_channel, "send a test message"),
        ("pause", pause_channel, "send nothing to a channel"),
        ("resume", resume_channel, "send to a channel again"),
        ("remove", remove_channel, "remove a channel with its rules"),
    ):
        parser = channels.add_command(name, command, text)
        parser.add_argument("id", help="id of the channel")
    parser = channels.add_command("create", create_channel, "create a channel")
    parser.add_argument("name", help="name of the channel")
    parser.add_argument("kind", help="such as slack or email")
    _add_channel_options(parser)
    rules = root.add_group("rules", "which events are sent to which channel")
    rules.add_command("list", list_rules, "list the rules")
    for name, rule_command, text in (
        ("show", show_rule, "show a rule"),
        ("pause", pause_rule, "let a rule send nothing"),
        ("resume", resume_rule, "let a rule send again"),
        ("remove", remove_rule, "remove a rule"),
    ):
        parser = rules.add_command(name, rule_command, text)
        parser.add_argument("id", help="id of the rule")
    parser = rules.add_command("create", create_rule, "create a rule")
    parser.add_argument("channel", help="id of the channel")
    parser.add_argument("events", nargs="+", help="such as run.failed")
    _add_rule_options(parser)


def _add_channel_options(parser: argparse.ArgumentParser) -> None:
    from_stdin = "; - reads it from standard input"
    parser.add_argument("--url", help=f"where messages are posted{from_stdin}")
    parser.add_argument(
        "--to", dest="recipients", action="append", help="address for mail; repeatable"
    )
    parser.add_argument("--routing-key", help=f"of PagerDuty{from_stdin}")
    parser.add_argument("--topic", help="of ntfy")
    parser.add_argument("--access-token", help=f"of ntfy{from_stdin}")
    parser.add_argument("--max-per-hour", type=parse_positive_int, metavar="N")


def _add_rule_options(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--task", dest="task_id", help="only events of this task")
    parser.add_argument("--tag", help="only events of tasks with this tag")
    parser.add_argument("--streak", type=parse_positive_int, metavar="N")
    parser.add_argument("--late-after", type=parse_positive_int, metavar="SECONDS")
    parser.add_argument(
        "--digest",
        dest="digest_seconds",
        type=parse_positive_int,
        metavar="SECONDS",
        help="gather the notices of so many seconds",
    )
    parser.add_argument("--quiet", metavar="HH:MM-HH:MM", help="send nothing then")
    parser.add_argument("--timezone", default="UTC", help="zone of --quiet")


def list_channels(client: Client, options: Options) -> int:
    found = list(client.list_channels())
    return succeed(options, [each.raw for each in found], *_format_channels(found))


def show_channel(client: Client, options: Options) -> int:
    return _print(options, client.get_channel(options.id))


def create_channel(client: Client, options: Options) -> int:
    names = (
        "url",
        "recipients",
        "routing_key",
        "topic",
        "access_token",
        "max_per_hour",
    )
    given = {name: _read(name, getattr(options, name)) for name in names}
    given["token"] = given.pop("access_token")
    fields = {name: value for name, value in given.items() if value is not None}
    made = client.create_channel(options.name, options.kind, **fields)
    return _print(options, made)


def _read(name: str, value: Any) -> Any:
    if name in _SECRETS and value == "-":
        return sys.stdin.readline().strip()
    return value


def test_channel(client: Client, options: Options) -> int:
    task_id = client.test_channel(options.id)
    return succeed(options, {"task_id": task_id}, f"Sent by task {task_id}")


def pause_channel(client: Client, options: Options) -> int:
    return _print(options, client.change_channel(options.id, paused=True))


def resume_channel(client: Client, options: Options) -> int:
    return _print(options, client.change_channel(options.id, paused=False))


def remove_channel(client: Client, options: Options) -> int:
    client.remove_channel(options.id)
    return succeed(options, {"removed": options.id}, "Removed")


def list_rules(client: Client, options: Options) -> int:
    found = list(client.list_rules())
    return succeed(options, [each.raw for each in found], *_format_rules(found))


def show_rule(client: Client, options: Options) -> int:
    return _print(options, client.get_rule(options.id))


def create_rule(client: Client, options: Options) -> int:
    given = {name: getattr(options, name) for name in _RULE_FIELDS}
    fields = {name: value for name, value in given.items() if value is not None}
    if options.quiet:
        fields["quiet_hours"] = _quiet_hours(options)
    made = client.create_rule(options.channel, options.events, **fields)
    return _print(options, made)


def _quiet_hours(options: Options) -> dict[str, str]:
    begins, dash, ends = options.quiet.partition("-")
    if not dash:
        raise UsageError("--quiet is a span such as 22:00-07:00")
    return {"from": begins, "to": ends, "timezone": options.timezone}


def pause_rule(client: Client, options: Options) -> int:
    return _print(options, client.change_rule(options.id, paused=True))


def resume_rule(client: Client, options: Options) -> int:
    return _print(options, client.change_rule(options.id, paused=False))


def remove_rule(client: Client, options: Options) -> int:
    client.remove_rule(options.id)
    return succeed(options, {"removed": options.id}, "Removed")


def _print(options: Options, item: Channel | Rule) -> int:
    return succeed(options, item.raw, *formatting.format_fields(dict(item.raw)))


def _format_channels(channels: Iterable[Channel]) -> Iterator[str]:
    head = ("id", "name", "kind", "an hour", "paused")
    rows = [
        (each.id, each.name, each.kind, each.max_per_hour, each.paused)
        for each in channels
    ]
    return formatting.format_table(head, rows)


def _format_rules(rules: Iterable[Rule]) -> Iterator[str]:
    head = ("id", "channel", "events", "task", "tag", "paused")
    rows = [
        (
            *(each.id, each.channel_id, " ".join(each.events)),
            *(each.task_id, each.tag, each.paused),
        )
        for each in rules
    ]
    return formatting.format_table(head, rows)
