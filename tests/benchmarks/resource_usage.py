"""What processes use: CPU and memory, theirs and the machine's."""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping
from subprocess import Popen
from typing import NamedTuple

import psutil

from tests.benchmarks.figures import Span

Processes = Mapping[str, "Popen[bytes]"]


class Reading(NamedTuple):
    """Seconds of CPU so far."""

    at: float
    cpu: Mapping[str, float]
    own: float
    machine: float


def read(processes: Processes) -> Reading:
    cpu = {name: _cpu_seconds(process) for name, process in processes.items()}
    times = psutil.cpu_times()
    # With what the hypervisor gave to others (steal): it is missing here as well.
    busy = sum(times) - times.idle - times.iowait - times.guest - times.guest_nice
    own = sum(psutil.Process().cpu_times()[:4])
    return Reading(time.monotonic(), cpu, own, busy)


def between(before: Reading, after: Reading) -> Span:
    cpu = {name: spent - before.cpu[name] for name, spent in after.cpu.items()}
    ours = sum(cpu.values()) + after.own - before.own
    others = max(0.0, after.machine - before.machine - ours)
    return Span(after.at - before.at, cpu, others)


def memory(processes: Processes) -> dict[str, float]:
    """What each holds in memory that it shares with no file and no buffer, in MB."""
    return {
        name: sum(map(_own_bytes, _family(process))) / 2**20
        for name, process in processes.items()
    }


def _cpu_seconds(process: Popen[bytes]) -> float:
    """What a process and its children have used, those that ended included."""
    total = 0.0
    for member in _family(process):
        try:
            total += sum(member.cpu_times()[:4])  # its own, and its ended children's
        except psutil.NoSuchProcess:
            continue
    return total


def _own_bytes(member: psutil.Process) -> int:
    try:
        found = member.memory_info()
    except psutil.NoSuchProcess:
        return 0
    return int(found.rss - found.shared)


def _family(process: Popen[bytes]) -> Iterator[psutil.Process]:
    first = psutil.Process(process.pid)
    yield first
    yield from first.children(recursive=True)
