"""Numbers of a run: lateness, throughput, CPU."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from subprocess import Popen

import psutil


def cpu_seconds(process: Popen[bytes]) -> float:
    """What a process and its children have used so far."""
    family = [psutil.Process(process.pid)]
    family += family[0].children(recursive=True)
    total = 0.0
    for member in family:
        try:
            times = member.cpu_times()
        except psutil.NoSuchProcess:
            continue
        total += times.user + times.system
    return total


def cpu_of(processes: Mapping[str, Popen[bytes]]) -> dict[str, float]:
    return {name: cpu_seconds(process) for name, process in processes.items()}


@dataclass(frozen=True)
class Arrivals:
    """What reached the target: (moment, webhook-id, planned moment), in seconds."""

    rows: Sequence[tuple[float, str, float]]

    @property
    def lateness(self) -> list[float]:
        return sorted(at - planned for at, _, planned in self.rows)

    @property
    def doubles(self) -> int:
        return len(self.rows) - len({run_id for _, run_id, _ in self.rows})

    @property
    def early(self) -> int:
        return sum(at < planned for at, _, planned in self.rows)

    @property
    def duration(self) -> float:
        """From the first planned moment to the last arrival."""
        return max(r[0] for r in self.rows) - min(r[2] for r in self.rows)


def percentile(ordered: Sequence[float], part: float) -> float:
    return ordered[min(len(ordered) - 1, int(len(ordered) * part))]


def table(rows: Iterable[Sequence[object]]) -> str:
    texts = [[str(cell) for cell in row] for row in rows]
    widths = [max(map(len, column)) for column in zip(*texts, strict=True)]
    lines = (
        "  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True))
        for row in texts
    )
    return "\n".join(line.rstrip() for line in lines)
