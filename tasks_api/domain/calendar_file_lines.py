"""Where in an iCalendar file something stands, so that an error names its line."""

from __future__ import annotations

from collections.abc import Iterator


def lines_of_events(text: str) -> list[int]:
    """Return the numbers of the lines with which the events of a file begin."""
    lines = (
        line for line in _content_lines(text) if not line[1].startswith((" ", "\t"))
    )
    return [number for number, line in lines if line.strip().upper() == "BEGIN:VEVENT"]


def find_wrong_line(text: str) -> int | None:
    """Return the number of the first line that no file has; None if there is none.

    A line has a colon, unless it goes on with the one before. A component that does not end
    is wrong where it begins.
    """
    opened: list[tuple[str, int]] = []
    for number, line in _content_lines(text):
        name, colon, value = (part.strip().upper() for part in line.partition(":"))
        if line[0] in " \t":
            continue
        if not colon:
            return number
        if name == "BEGIN":
            opened.append((value, number))
        elif name == "END" and (not opened or opened.pop()[0] != value):
            return number
    return opened[-1][1] if opened else None


def _content_lines(text: str) -> Iterator[tuple[int, str]]:
    """Yield the lines that say something, with their numbers from 1 on."""
    lines = text.replace("\r\n", "\n").replace("\r", "\n").split("\n")
    return ((at, line) for at, line in enumerate(lines, start=1) if line.strip())
