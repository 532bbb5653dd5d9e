"""The commands for limits: `scheduler lanes …`."""

from __future__ import annotations

import argparse
from collections.abc import Callable, Iterable, Iterator
from typing import Any

from scheduler_client import formatting
from scheduler_client.cli.arguments import parse_positive_int
from scheduler_client.cli.commands import CommandGroup, Options, UsageError
from scheduler_client.cli.output import succeed
from scheduler_client.client import Client
from scheduler_client.models import Lane

# The words of a rate such as 20/second, and their short forms.
_PERIODS = {"s": "second", "m": "minute", "h": "hour"}


def add_commands(root: CommandGroup) -> None:
    lanes = root.add_group("lanes", "limits that the tasks of a target share")
    lanes.add_command("list", list_lanes, "list the lanes")
    for name, command, text in (
        ("show", show_lane, "show a lane and what it does now"),
        ("resume", resume_lane, "let requests of a lane start again"),
        ("remove", remove_lane, "remove a lane that no task belongs to"),
    ):
        parser = lanes.add_command(name, command, text)
        parser.add_argument("name", help="name of the lane")
    for name, command, text in (
        ("create", create_lane, "create a lane"),
        ("change", change_lane, "change the limits of a lane"),
    ):
        parser = lanes.add_command(name, command, text)
        parser.add_argument("name", help="name of the lane")
        _add_limits(parser)
    parser = lanes.add_command("pause", pause_lane, "let no request of a lane start")
    parser.add_argument("name", help="name of the lane")
    parser.add_argument("--reason", help="why")
    parser.add_argument("--until", metavar="DATETIME", help="resume by itself then")


def _add_limits(parser: argparse.ArgumentParser) -> None:
    none = "; none takes it away"
    parser.add_argument("--host", help=f"host whose tasks belong to the lane{none}")
    parser.add_argument("--rate", metavar="N/PERIOD", help=f"such as 20/second{none}")
    parser.add_argument("--burst", type=parse_positive_int, metavar="N")
    parser.add_argument("--concurrency", metavar="N", help=f"requests at once{none}")
    parser.add_argument(
        "--breaker",
        metavar="N/SECONDS",
        help=f"failures in a row, and for how long nothing starts after them{none}",
    )


def list_lanes(client: Client, options: Options) -> int:
    found = list(client.list_lanes())
    return succeed(options, [each.raw for each in found], *_format_lanes(found))


def show_lane(client: Client, options: Options) -> int:
    return _print(options, client.get_lane(options.name))


def create_lane(client: Client, options: Options) -> int:
    return _print(options, client.create_lane(options.name, **_read_limits(options)))


def change_lane(client: Client, options: Options) -> int:
    return _print(options, client.change_lane(options.name, **_read_limits(options)))


def remove_lane(client: Client, options: Options) -> int:
    client.remove_lane(options.name)
    return succeed(options, {"removed": options.name}, "Removed")


def pause_lane(client: Client, options: Options) -> int:
    lane = client.pause_lane(options.name, reason=options.reason, until=options.until)
    return _print(options, lane)


def resume_lane(client: Client, options: Options) -> int:
    return _print(options, client.resume_lane(options.name))


def _read_limits(options: Options) -> dict[str, Any]:
    readers: dict[str, Callable[[str], Any]] = {
        "host": str,
        "rate": lambda text: _read_rate(text, options.burst),
        "concurrency": lambda text: _read_number("--concurrency", text),
        "breaker": _read_breaker,
    }
    if options.burst and not options.rate:
        raise UsageError("--burst goes with --rate")
    given = {name: getattr(options, name) for name in readers}
    return {
        name: None if text == "none" else readers[name](text)
        for name, text in given.items()
        if text is not None
    }


def _read_rate(text: str, burst: int | None) -> dict[str, Any]:
    limit, _, per = text.partition("/")
    period = _PERIODS.get(per[:1], "")
    if not per or not period.startswith(per):
        raise UsageError("--rate is a number by period, such as 20/second or 5/min")
    rate = {"limit": _read_number("--rate", limit), "per": period}
    return rate | ({"burst": burst} if burst else {})


def _read_breaker(text: str) -> dict[str, int]:
    after, slash, seconds = text.partition("/")
    breaker = {"after": _read_number("--breaker", after)}
    if slash:
        breaker["for"] = _read_number("--breaker", seconds)
    return breaker


def _read_number(option: str, text: str) -> int:
    if text.isascii() and text.isdigit() and len(text) <= 9:
        return int(text)
    raise UsageError(f"{option} has {text!r} in the place of a number")


def _print(options: Options, lane: Lane) -> int:
    return succeed(options, lane.raw, *formatting.format_fields(dict(lane.raw)))


def _format_lanes(lanes: Iterable[Lane]) -> Iterator[str]:
    head = ("name", "host", "rate", "concurrency", "waiting", "running", "paused")
    rows = [
        (
            *(each.name, each.host, _format_rate(each), each.concurrency),
            *(each.state["waiting"], each.state["running"], each.state["paused"]),
        )
        for each in lanes
    ]
    return formatting.format_table(head, rows)


def _format_rate(lane: Lane) -> str | None:
    return f"{lane.rate['limit']}/{lane.rate['per']}" if lane.rate else None
