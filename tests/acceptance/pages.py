"""Reads the console blocks of the docs: commands, and the output that they show."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, NamedTuple

from tests.acceptance.harness import ROOT

PAGES = sorted(
    [*ROOT.glob("*.md"), *ROOT.glob("docs/**/*.md"), ROOT / "clients/python/README.md"]
)
_FENCE = re.compile(r"^( *)```(\w*)\n(.*?)^\1```$", re.MULTILINE | re.DOTALL)
# Ids, fingerprints and moments differ each time.
_ID = re.compile(r"[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}|c[0-9a-z]{24}")
_VARYING_TEXT = re.compile(
    rf"\b[0-9a-f]{{32}}\b|{_ID.pattern}|\d{{4}}-\d\d-\d\d[T ]\d\d:\d\d:\d\d(\.\d+)?Z?"
)


class ConsoleStep(NamedTuple):
    command: str
    shown: str


class ConsoleBlock(NamedTuple):
    """A `console` block, with the last files before it and the first after it, by language."""

    steps: list[ConsoleStep]
    before: Mapping[str, str]
    after: Mapping[str, str]


def read_blocks(page: Path) -> list[ConsoleBlock]:
    fences = list(_fences(page.read_text(encoding="utf-8")))
    found = []
    for place, (language, text) in enumerate(fences):
        if language == "console":
            before, after = dict(fences[:place]), dict(reversed(fences[place + 1 :]))
            found.append(ConsoleBlock(list(_steps(text)), before, after))
    return found


def _fences(text: str) -> Iterator[tuple[str, str]]:
    for indent, language, inside in _FENCE.findall(text):
        lines = (line.removeprefix(indent) for line in inside.splitlines(keepends=True))
        yield language, "".join(lines)


def _steps(text: str) -> Iterator[ConsoleStep]:
    for part in re.split(r"^\$ ", text, flags=re.MULTILINE)[1:]:
        command, _, shown = part.partition("\n")
        yield ConsoleStep(command, shown.strip())


class OutputMismatch(AssertionError):
    """The output of a command is not what the page shows."""


def compare(shown: str, output: str) -> dict[str, str]:
    """Raise OutputMismatch unless an output has the shape that a page shows.

    JSON has the same keys, and texts are the same but for ids and moments. Returns which id
    stands for which of the page's.
    """
    expected = _json(shown)
    if not isinstance(expected, dict | list):
        if _VARYING_TEXT.sub("*", shown) != _VARYING_TEXT.sub("*", output.strip()):
            raise OutputMismatch(f"Shown:\n{shown}\nCame:\n{output}")
        return {}
    ids: dict[str, str] = {}
    actual = _json(output)
    if not actual or not _fits(expected, actual, ids):
        raise OutputMismatch(f"Shown:\n{shown}\nCame:\n{output}")
    return ids


def _json(text: str) -> Any:
    try:
        return json.loads(text)
    except ValueError:
        return None


def _fits(expected: Any, actual: Any, ids: dict[str, str]) -> bool:
    match expected, actual:
        case dict(), dict():
            return expected.keys() == actual.keys() and all(
                _fits(each, actual[name], ids)
                and (name != "message" or each == actual[name])
                for name, each in expected.items()
            )
        case list(), list():
            return not actual or all(
                any(_fits(each, other, ids) for other in actual) for each in expected
            )
        case str(), str() if _ID.fullmatch(expected):
            ids[expected] = actual
    return expected is None or actual is None or type(expected) is type(actual)
