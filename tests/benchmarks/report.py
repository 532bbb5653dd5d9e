"""Renders results as a table for the terminal, and as a page with the goals."""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import TypedDict

from tests.benchmarks.figures import FAULTS, Figures
from tests.benchmarks.goals import GOALS, NO_FAULTS, goal_for

# Results are compared only between machines that have the same of these.
MACHINE_SIZE = ("cores", "memory")

TableRow = Sequence[str]


class Result(TypedDict):
    """The result of one scenario."""

    about: str
    rounds: int
    measured_on: str
    figures: Figures


class Results(TypedDict):
    """The content of the results file."""

    machine: dict[str, str]
    scenarios: dict[str, Result]


def empty_results() -> Results:
    return {"machine": {}, "scenarios": {}}


def is_comparable(results: Results, other: Results) -> bool:
    machines = results["machine"], other["machine"]
    return all(machines[0].get(key) == machines[1].get(key) for key in MACHINE_SIZE)


def merge_results(old: Results, new: Results) -> Results:
    """The old results, replaced by the new ones; only of the same kind of machine."""
    kept = old["scenarios"] if is_comparable(old, new) else {}
    return {"machine": new["machine"], "scenarios": {**kept, **new["scenarios"]}}


def render_summary(results: Results, last: Results) -> str:
    """Every figure with its ratio to the committed one, then the goals."""
    comparable = is_comparable(results, last)
    rows = [("scenario", "figure", "median", ": last", "goal", "reached")]
    for name, result in results["scenarios"].items():
        before = last["scenarios"].get(name) if comparable else None
        rows += _summary_rows(
            name, result["figures"], before["figures"] if before else {}
        )
    aims = [row for row in rows if row[4] not in ("", str(NO_FAULTS))]
    shown = [
        render_table(rows),
        render_table(aims) if aims[1:] else "",
        describe_conditions(results["machine"]),
    ]
    if last["scenarios"] and not comparable:
        shown.append(
            f"Not compared with another machine: {_describe_size(last['machine'])}."
        )
    return "\n\n".join(filter(None, shown))


def _summary_rows(
    name: str, figures: Figures, before: Figures
) -> Iterator[tuple[str, str, str, str, str, str]]:
    for figure, value in figures.items():
        goal = goal_for(name, figure)
        yield (
            name,
            figure,
            format_figure(value),
            format_ratio(value, before.get(figure)),
            str(goal or ""),
            describe_reached(name, figure, value),
        )


def format_ratio(value: float, before: float | None) -> str:
    """The new value in multiples of the old one; empty where that says nothing."""
    if not before or math.isnan(before) or math.isnan(value):
        return ""
    return f"{value / before:.2f}"


def describe_reached(scenario: str, figure: str, value: float) -> str:
    goal = goal_for(scenario, figure)
    if goal is None:
        return ""
    return "yes" if goal.is_met(value) else "NO"


def list_faults(results: Results) -> list[str]:
    """The promises that were broken."""
    return [
        f"{name}: {fault} {figures[fault]:g}"
        for name, result in results["scenarios"].items()
        for figures in [result["figures"]]
        for fault in FAULTS
        if figures.get(fault)
    ]


def format_figure(value: float) -> str:
    """Three significant digits, or all digits of a large number."""
    if math.isnan(value):
        return "none"
    if value == int(value) or abs(value) >= 100:
        return f"{value:,.0f}"
    return f"{value:.1f}" if abs(value) >= 10 else f"{value:.2f}"


def describe_conditions(machine: Mapping[str, str]) -> str:
    return ", ".join(f"{name} {value}" for name, value in machine.items())


def _describe_size(machine: Mapping[str, str]) -> str:
    return f"{machine['cores']} cores, {machine['memory']}"


def render_table(rows: Iterable[TableRow]) -> str:
    texts = [[str(cell) for cell in row] for row in rows]
    widths = [max(map(len, column)) for column in zip(*texts, strict=True)]
    lines = (
        "  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True))
        for row in texts
    )
    return "\n".join(line.rstrip() for line in lines)


_PAGE_HEAD = """\
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


def render_page(results: Results) -> str:
    machine = results["machine"]
    measured = (
        f"Measured with {describe_conditions(machine)}."
        if machine
        else _NOTHING_MEASURED
    )
    parts = [_PAGE_HEAD, measured, _render_goals(results["scenarios"])]
    for name, result in results["scenarios"].items():
        parts.append(_render_section(name, result))
    return "\n\n".join(part.strip() for part in parts) + "\n"


_NOTHING_MEASURED = "Nothing has been measured yet."


def _render_goals(scenarios: Mapping[str, Result]) -> str:
    rows = [("scenario", "figure", "goal", "measured", "reached")]
    for name, goals in GOALS.items():
        figures = scenarios[name]["figures"] if name in scenarios else {}
        for figure, goal in goals.items():
            value = figures.get(figure)
            found = "" if value is None else format_figure(value)
            verdict = "" if value is None else describe_reached(name, figure, value)
            rows.append((f"`{name}`", figure.strip(), str(goal), found, verdict))
    text = "On two cores, with all processes and the target on them. In brackets: what would be better still."
    return f"## Goals\n\n{text}\n\n{_render_markdown(rows)}"


# How the figures of contestants begin, and how their ratios do.
OURS, AGAINST = "ours", "ours : "


def _render_section(name: str, result: Result) -> str:
    contest, figures = _split_contest(result["figures"])
    rows = [("figure", "median", "goal")]
    for figure, value in figures.items():
        goal = str(goal_for(name, figure) or "")
        rows.append((figure.strip(), format_figure(value), goal))
    how = f"Rounds: {result['rounds']}, on {result['measured_on']}."
    tables = [_render_markdown(each) for each in (contest, rows) if len(each) > 1]
    return "\n\n".join([f"## `{name}`", f"{result['about']} {how}", *tables])


def _split_contest(figures: Figures) -> tuple[list[TableRow], Figures]:
    """The rows of a table with a column for each contestant, and the other figures."""
    if not any(name.startswith(AGAINST) for name in figures):
        return [("figure",)], figures
    cells: dict[str, dict[str, float]] = {}
    others: Figures = {}
    for name, value in figures.items():
        contestant, separator, figure = name.partition(": ")
        if name.startswith(AGAINST):
            contestant, _, figure = name.removeprefix(AGAINST).rpartition(", ")
            cells.setdefault(f"{AGAINST}theirs, {figure}", {})[contestant] = value
        elif separator:
            cells.setdefault(figure.strip(), {})[contestant] = value
        else:
            others[name] = value
    return list(_contest_rows(cells)), others


def _contest_rows(cells: Mapping[str, dict[str, float]]) -> Iterator[TableRow]:
    names = list(dict.fromkeys(name for row in cells.values() for name in row))
    yield ("figure", *names)
    for figure, row in cells.items():
        values = (format_figure(row[name]) if name in row else "" for name in names)
        yield (figure, *values)


def _render_markdown(rows: Sequence[TableRow]) -> str:
    lines = [f"| {' | '.join(row)} |" for row in rows]
    lines.insert(1, f"|{'---|' * len(rows[0])}")
    return "\n".join(lines)
