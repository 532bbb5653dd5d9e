"""What the commands share: how their results are told, and options of several of them."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Callable, Iterable, Iterator
from itertools import islice
from typing import Any, TypeVar

from scheduler_client import documents

T = TypeVar("T")
# As many as the service puts on one page.
LONGEST_PAGE = 1000

Options = argparse.Namespace
Add = Callable[[Any, str, Callable[..., int | None], str], argparse.ArgumentParser]
Group = Callable[[str, str], Any]


def say(lines: Iterable[str]) -> None:
    for line in lines:
        print(line)


def tell(options: Options, data: object, lines: Iterable[str]) -> None:
    """As JSON where that was asked for, as text otherwise."""
    if options.json:
        print(documents.write_json(data, indent=2))
    else:
        say(lines)


def done(options: Options, data: object, text: str) -> int:
    tell(options, data, [text])
    return 0


def positive(text: str) -> int:
    value = int(text)
    if value < 1:
        raise argparse.ArgumentTypeError("should be 1 or more")
    return value


def add_span(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--from", dest="since", metavar="MOMENT", help="included")
    parser.add_argument("--to", dest="until", metavar="MOMENT", help="excluded")


def add_limit(parser: argparse.ArgumentParser, usual: int) -> None:
    parser.add_argument(
        "--limit", type=positive, default=usual, help=f"at most so many ({usual})"
    )
    parser.add_argument(
        "--all", action="store_const", const=None, dest="limit", help="however many"
    )


def page_of(options: Options) -> int:
    """How many to ask for at once: one more than is shown, which says whether there is one."""
    return (
        LONGEST_PAGE if options.limit is None else min(options.limit + 1, LONGEST_PAGE)
    )


def some(options: Options, found: Iterator[T]) -> list[T]:
    """As many as --limit allows; says so on standard error where there are more."""
    shown = list(islice(found, options.limit))
    if options.limit is not None and next(found, None) is not None:
        print(
            f"scheduler: The first {options.limit}; there are more. "
            "Say --limit N, or --all.",
            file=sys.stderr,
        )
    return shown
