"""Numbers of a run: lateness, throughput, CPU."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from subprocess import Popen

import psutil


def cpu_seconds(process: Popen[bytes]) -> float:
    """What a process and its children have used so far, those that ended included."""
    family = [psutil.Process(process.pid)]
    family += family[0].children(recursive=True)
    total = 0.0
    for member in family:
        try:
            total += sum(member.cpu_times()[:4])  # its own, and its ended children's
        except psutil.NoSuchProcess:
            continue
    return total


def cpu_of(processes: Mapping[str, Popen[bytes]]) -> dict[str, float]:
    return {name: cpu_seconds(process) for name, process in processes.items()}


@dataclass(frozen=True)
class Arrivals:
    """What reached the target: (moment, webhook-id, planned moment), in seconds."""

    rows: Sequence[tuple[float, str, float]]

    def planned_before(self, moment: float) -> Arrivals:
        return Arrivals([row for row in self.rows if row[2] < moment])

    @property
    def lateness(self) -> list[float]:
        return sorted(at - planned for at, _, planned in self.rows)

    @property
    def different(self) -> int:
        return len({run_id for _, run_id, _ in self.rows})

    @property
    def early(self) -> int:
        return sum(at < planned for at, _, planned in self.rows)

    @property
    def last(self) -> float:
        return max((at for at, *_ in self.rows), default=float("nan"))


def percentile(ordered: Sequence[float], part: float) -> float:
    if not ordered:
        return float("nan")
    return ordered[min(len(ordered) - 1, int(len(ordered) * part))]


def table(rows: Iterable[Sequence[object]]) -> str:
    texts = [[str(cell) for cell in row] for row in rows]
    widths = [max(map(len, column)) for column in zip(*texts, strict=True)]
    lines = (
        "  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True))
        for row in texts
    )
    return "\n".join(line.rstrip() for line in lines)
