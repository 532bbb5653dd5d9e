"""What the commands share: how their results are told, and options of several of them."""

from __future__ import annotations

import argparse
import json
from collections.abc import Callable, Iterable
from typing import Any

Options = argparse.Namespace
Add = Callable[[Any, str, Callable[..., int | None], str], argparse.ArgumentParser]
Group = Callable[[str, str], Any]


def say(lines: Iterable[str]) -> None:
    for line in lines:
        print(line)


def tell(options: Options, data: object, lines: Iterable[str]) -> None:
    """As JSON where that was asked for, as text otherwise."""
    if options.json:
        print(json.dumps(data, ensure_ascii=False, indent=2))
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
