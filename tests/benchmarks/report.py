"""Results as a table for the terminal, and as a page with what was to be reached."""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import TypedDict

from tests.benchmarks.figures import FAULTS, Figures
from tests.benchmarks.goals import GOALS, NONE, goal_for

# Results of machines that differ in one of these cannot be compared.
SIZE = ("cores", "memory")

Row = Sequence[str]


class Result(TypedDict):
    """What one scenario gave."""

    about: str
    rounds: int
    measured_on: str
    figures: Figures


class Results(TypedDict):
    """What lies in the file."""

    machine: dict[str, str]
    scenarios: dict[str, Result]


def nothing() -> Results:
    return {"machine": {}, "scenarios": {}}


def is_comparable(results: Results, other: Results) -> bool:
    machines = results["machine"], other["machine"]
    return all(machines[0].get(key) == machines[1].get(key) for key in SIZE)


def merged(old: Results, new: Results) -> Results:
    """What was measured before, with the new in its place; nothing of other machines."""
    kept = old["scenarios"] if is_comparable(old, new) else {}
    return {"machine": new["machine"], "scenarios": {**kept, **new["scenarios"]}}


def summary(results: Results, last: Results) -> str:
    """For the terminal: every figure with its ratio to the committed one, then the goals."""
    comparable = is_comparable(results, last)
    rows = [("scenario", "figure", "median", ": last", "goal", "reached")]
    for name, result in results["scenarios"].items():
        before = last["scenarios"].get(name) if comparable else None
        rows += _rows(name, result["figures"], before["figures"] if before else {})
    aims = [row for row in rows if row[4] not in ("", str(NONE))]
    shown = [
        table(rows),
        table(aims) if aims[1:] else "",
        conditions(results["machine"]),
    ]
    if last["scenarios"] and not comparable:
        shown.append(f"Not compared with another machine: {_size(last['machine'])}.")
    return "\n\n".join(filter(None, shown))


def _rows(
    name: str, figures: Figures, before: Figures
) -> Iterator[tuple[str, str, str, str, str, str]]:
    for figure, value in figures.items():
        goal = goal_for(name, figure)
        yield (
            name,
            figure,
            written(value),
            ratio(value, before.get(figure)),
            str(goal or ""),
            reached(name, figure, value),
        )


def ratio(value: float, before: float | None) -> str:
    """How many times what it was; empty where that says nothing."""
    if not before or math.isnan(before) or math.isnan(value):
        return ""
    return f"{value / before:.2f}"


def reached(scenario: str, figure: str, value: float) -> str:
    goal = goal_for(scenario, figure)
    if goal is None:
        return ""
    return "yes" if goal.is_reached(value) else "NO"


def faults(results: Results) -> list[str]:
    """The promises that were broken."""
    return [
        f"{name}: {fault} {figures[fault]:g}"
        for name, result in results["scenarios"].items()
        for figures in [result["figures"]]
        for fault in FAULTS
        if figures.get(fault)
    ]


def written(value: float) -> str:
    """Three digits that mean something, or all of a large number."""
    if math.isnan(value):
        return "none"
    if value == int(value) or abs(value) >= 100:
        return f"{value:,.0f}"
    return f"{value:.1f}" if abs(value) >= 10 else f"{value:.2f}"


def conditions(machine: Mapping[str, str]) -> str:
    return ", ".join(f"{name} {value}" for name, value in machine.items())


def _size(machine: Mapping[str, str]) -> str:
    return f"{machine['cores']} cores, {machine['memory']}"


def table(rows: Iterable[Row]) -> str:
    texts = [[str(cell) for cell in row] for row in rows]
    widths = [max(map(len, column)) for column in zip(*texts, strict=True)]
    lines = (
        "  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True))
        for row in texts
    )
    return "\n".join(line.rstrip() for line in lines)


# The page.

_HEAD = """\
# Benchmarks

```console
$ make bench save=1
```

It measures the service as real processes on one machine, and writes this page. Each scenario starts a PostgreSQL that
is durable, a Redis, one web, one worker and one beat of its own, on an empty state. Each figure is the median of the
scenario's rounds, but for *lost*, *doubled*, *early* and *refused*, which are sums.

- **late** is the time from the fire time to the arrival at the target, which runs on the same machine.
- **CPU per delivery** is that of all processes but the target: PostgreSQL, Redis, web, worker and beat.
- **target % busy** is how much of one core the target used; near 100 it would be what is measured. The scenario
  `sink` measures what it can take.
- **other work** is what the machine did besides, in percent of one core, and what its hypervisor gave to others. Where
  it is more than a few percent, rates and lateness are too pessimistic; CPU per operation and ratios still hold.
- **memory** is what a process and its children hold resident and share with no file and no buffer. **grew** is the
  difference since the first round; in `idle`, since nothing was stored.
"""


def page(results: Results) -> str:
    machine = results["machine"]
    measured = f"Measured with {conditions(machine)}." if machine else _NOTHING
    parts = [_HEAD, measured, _goals(results["scenarios"])]
    for name, result in results["scenarios"].items():
        parts.append(_section(name, result))
    return "\n\n".join(part.strip() for part in parts) + "\n"


_NOTHING = "Nothing has been measured yet."


def _goals(scenarios: Mapping[str, Result]) -> str:
    rows = [("scenario", "figure", "goal", "measured", "reached")]
    for name, goals in GOALS.items():
        figures = scenarios[name]["figures"] if name in scenarios else {}
        for figure, goal in goals.items():
            value = figures.get(figure)
            found = "" if value is None else written(value)
            verdict = "" if value is None else reached(name, figure, value)
            rows.append((f"`{name}`", figure.strip(), str(goal), found, verdict))
    text = "On two cores, with all processes and the target on them. In brackets: what would be better still."
    return f"## Goals\n\n{text}\n\n{_markdown(rows)}"


# How figures of contestants begin, and their ratios.
OURS, AGAINST = "ours", "ours : "


def _section(name: str, result: Result) -> str:
    beside, figures = _beside(result["figures"])
    rows = [("figure", "median", "goal")]
    for figure, value in figures.items():
        goal = str(goal_for(name, figure) or "")
        rows.append((figure.strip(), written(value), goal))
    how = f"Rounds: {result['rounds']}, on {result['measured_on']}."
    tables = [_markdown(each) for each in (beside, rows) if len(each) > 1]
    return "\n\n".join([f"## `{name}`", f"{result['about']} {how}", *tables])


def _beside(figures: Figures) -> tuple[list[Row], Figures]:
    """A table with a column for each contestant, if there are any; and what is left."""
    cells: dict[str, dict[str, float]] = {}
    left: Figures = {}
    is_contest = any(name.startswith(AGAINST) for name in figures)
    for name, value in figures.items():
        who, found, figure = name.partition(": ")
        if is_contest and name.startswith(AGAINST):
            who, _, figure = name.removeprefix(AGAINST).rpartition(", ")
            cells.setdefault(f"{AGAINST}theirs, {figure}", {})[who] = value
        elif is_contest and found:
            cells.setdefault(figure.strip(), {})[who] = value
        else:
            left[name] = value
    names = list(dict.fromkeys(who for row in cells.values() for who in row))
    rows: list[Row] = [("figure", *names)]
    for figure, row in cells.items():
        values = (written(row[who]) if who in row else "" for who in names)
        rows.append((figure, *values))
    return rows, left


def _markdown(rows: Sequence[Row]) -> str:
    lines = [f"| {' | '.join(row)} |" for row in rows]
    lines.insert(1, f"|{'---|' * len(rows[0])}")
    return "\n".join(lines)
