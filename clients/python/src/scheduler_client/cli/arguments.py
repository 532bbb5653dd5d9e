"""Arguments that several commands have."""

from __future__ import annotations

import argparse
import json
from typing import Any
from uuid import UUID

from scheduler_client.client import Client


def parse_int(text: str) -> int:
    try:
        return int(text)
    except ValueError:
        raise argparse.ArgumentTypeError(f"{text!r} is not an integer") from None


def parse_object(text: str) -> dict[str, Any]:
    try:
        value = json.loads(text)
    except ValueError:
        value = None
    if isinstance(value, dict):
        return value
    raise argparse.ArgumentTypeError(f"not a JSON object: {text}")


def parse_positive_int(text: str) -> int:
    value = parse_int(text)
    if value < 1:
        raise argparse.ArgumentTypeError("should be 1 or more")
    return value


def add_task(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("task", help="id or name of the task")


def add_run(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("run", help="id of the run")


def add_task_filter(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--task", help="only runs of this task, given by its id or name"
    )


def add_time_range(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--from", dest="since", metavar="DATETIME", help="start, inclusive"
    )
    parser.add_argument("--to", dest="until", metavar="DATETIME", help="end, exclusive")


def add_reason_filter(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--reason", help="only runs with this reason, as in the stats")
    parser.add_argument(
        "--code", type=parse_positive_int, help="only runs that failed with this status"
    )


def add_limit(parser: argparse.ArgumentParser, default: int) -> None:
    parser.add_argument(
        "--limit",
        type=parse_positive_int,
        default=default,
        help=f"show at most so many (default: {default})",
    )
    parser.add_argument(
        "--all", action="store_const", const=None, dest="limit", help="show all"
    )


def add_fire_time_count(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "-n", type=int, default=20, help="number of fire times (default: 20)"
    )


def add_idempotency_key(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--key", help="idempotency key")


def find_task_id(client: Client, id_or_name: str) -> str:
    try:
        UUID(id_or_name)
    except ValueError:
        return client.get_task_by_name(id_or_name).id
    return id_or_name
