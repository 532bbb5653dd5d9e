"""The CPU and memory of processes, and of the machine."""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping
from subprocess import Popen
from typing import NamedTuple

import psutil

from tests.benchmarks.figures import ResourceUsage

Processes = Mapping[str, "Popen[bytes]"]


class UsageReading(NamedTuple):
    """Seconds of CPU so far: of each process, of this one, and of the machine."""

    read_at: float
    cpu: Mapping[str, float]
    benchmark_cpu: float
    machine_cpu: float


def read_usage(processes: Processes) -> UsageReading:
    cpu = {name: _cpu_seconds(process) for name, process in processes.items()}
    times = psutil.cpu_times()
    # With what the hypervisor gave to others (steal): it is missing here as well.
    busy = sum(times) - times.idle - times.iowait - times.guest - times.guest_nice
    benchmark = sum(psutil.Process().cpu_times()[:4])
    return UsageReading(time.monotonic(), cpu, benchmark, busy)


def usage_between(before: UsageReading, after: UsageReading) -> ResourceUsage:
    cpu = {name: spent - before.cpu[name] for name, spent in after.cpu.items()}
    ours = sum(cpu.values()) + after.benchmark_cpu - before.benchmark_cpu
    others = max(0.0, after.machine_cpu - before.machine_cpu - ours)
    return ResourceUsage(after.read_at - before.read_at, cpu, others)


def read_memory(processes: Processes) -> dict[str, float]:
    """The memory of each that it shares with no file and no buffer, in MB."""
    return {
        name: sum(map(_private_bytes, _process_tree(process))) / 2**20
        for name, process in processes.items()
    }


def _cpu_seconds(process: Popen[bytes]) -> float:
    """The CPU of a process and its children, including those that ended."""
    total = 0.0
    for member in _process_tree(process):
        try:
            total += sum(member.cpu_times()[:4])  # its own, and its ended children's
        except psutil.NoSuchProcess:
            continue
    return total


def _private_bytes(member: psutil.Process) -> int:
    try:
        memory = member.memory_info()
    except psutil.NoSuchProcess:
        return 0
    return int(memory.rss - memory.shared)


def _process_tree(process: Popen[bytes]) -> Iterator[psutil.Process]:
    root = psutil.Process(process.pid)
    yield root
    yield from root.children(recursive=True)
