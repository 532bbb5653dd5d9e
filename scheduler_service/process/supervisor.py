"""Run the programs of a Procfile side by side, and restart those that stop."""

from __future__ import annotations

import ctypes
import os
import selectors
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from types import FrameType
from typing import Any, Protocol, Self

# Seconds: a program that keeps stopping is restarted after 0.5, 1, 2 … 30; one that has
# run for a minute begins at 0.5 again.
MIN_RESTART_DELAY, MAX_RESTART_DELAY, STABLE_AFTER = 0.5, 30.0, 60.0
# Seconds that programs may take to stop: a worker finishes requests of up to 30.
STOP_TIMEOUT = 45.0
COLOURS = ("36", "32", "33", "35", "34", "31")
# Bytes of output that are read, and of a line, at a time.
MAX_LINE = 65536
# The option of prctl(2).
PR_SET_PDEATHSIG = 1

_libc = ctypes.CDLL(None)


def set_parent_death_signal(
    parent: int, death_signal: signal.Signals = signal.SIGTERM
) -> None:
    """Let this process get a signal when its parent dies, even by SIGKILL."""
    if sys.platform == "linux":
        _libc.prctl(PR_SET_PDEATHSIG, int(death_signal))
    # The parent may have died before the call.
    if os.getppid() != parent:
        os.kill(os.getpid(), death_signal)


def spawn(
    command: Sequence[str | Path],
    *,
    death_signal: signal.Signals = signal.SIGTERM,
    **options: Any,
) -> subprocess.Popen[bytes]:
    """Start a command that gets a signal when this process dies, even by SIGKILL."""
    parent = os.getpid()
    # In a session of its own, so that only we get a Ctrl-C and pass it on in our order.
    return subprocess.Popen(  # noqa: S603 (our own commands)
        command,
        stdin=subprocess.DEVNULL,
        start_new_session=True,
        preexec_fn=lambda: set_parent_death_signal(parent, death_signal),
        **options,
    )


def read_procfile(path: Path) -> dict[str, str]:
    lines = path.read_text(encoding="utf-8").splitlines()
    named = (line.partition(":") for line in lines if ":" in line and line[0] != "#")
    return {name.strip(): command.strip() for name, _, command in named}


class OutputStream(Protocol):
    def write(self, text: str, /) -> object: ...
    def flush(self) -> object: ...
    def isatty(self) -> bool: ...


@dataclass
class Program:
    """A command that should be running, and its state."""

    name: str
    start: Callable[[], subprocess.Popen[bytes]]
    stop_signal: signal.Signals = signal.SIGTERM
    process: subprocess.Popen[bytes] | None = None
    started_at: float = 0.0
    restart_delay: float = MIN_RESTART_DELAY
    restart_at: float | None = None
    unfinished_line: bytes = b""

    @property
    def has_failed(self) -> bool:
        """It has stopped, and waits for its next start."""
        return self.restart_at is not None

    def terminate(self) -> None:
        if self.process is not None:
            self.process.send_signal(self.stop_signal)

    def kill(self) -> None:
        """Kill the process, or what is left of its group."""
        if self.process is not None:
            with suppress(ProcessLookupError, PermissionError):
                os.killpg(self.process.pid, signal.SIGKILL)


class Supervisor:
    """Starts groups of programs, and stops them in the reverse order."""

    def __init__(
        self, out: OutputStream, *, width: int = 0, grace: float = STOP_TIMEOUT
    ) -> None:
        self.out = out
        self.width = width
        self.grace = grace
        self.groups: list[tuple[Program, ...]] = []
        self.stopping = False
        self.interrupts = 0
        self.selector = selectors.DefaultSelector()

    def __enter__(self) -> Self:
        signals = [signal.SIGINT, signal.SIGTERM]
        # Under nohup the loss of the terminal is no reason to stop.
        if signal.getsignal(signal.SIGHUP) is not signal.SIG_IGN:
            signals.append(signal.SIGHUP)
        self.handlers = {each: signal.signal(each, self._on_signal) for each in signals}
        return self

    def __exit__(self, *_: object) -> None:
        try:
            self.stop()
        finally:
            for number, handler in self.handlers.items():
                signal.signal(number, handler)
            self.selector.close()

    def _on_signal(self, number: int, _frame: FrameType | None) -> None:
        # SIGTERM may come twice, from its sender and from make. Only a second Ctrl-C asks
        # to stop at once.
        self.stopping = True
        self.interrupts += number == signal.SIGINT

    def start(self, *programs: Program) -> None:
        self.groups.append(programs)
        for program in programs:
            self._launch(program)

    def run(self) -> None:
        while not self.stopping:
            self.tick()

    def wait_until(self, condition: Callable[[], bool], *, timeout: float) -> bool:
        """Keep the programs running until the condition holds; False after the timeout."""
        deadline = time.monotonic() + timeout
        while not self.stopping and time.monotonic() < deadline:
            if condition():
                return True
            self.tick()
        return False

    def tick(self) -> None:
        """Forward the output of the programs, and restart those that have stopped."""
        for key, _ in self.selector.select(timeout=0.2):
            self._forward_output(key.data)
        now = time.monotonic()
        for program in (program for group in self.groups for program in group):
            if program.process is not None and program.process.poll() is not None:
                self._reap(program, now)
            due = program.restart_at is not None and program.restart_at <= now
            if due and not self.stopping:
                self._launch(program)

    def stop(self) -> None:
        """Stop all programs, the last group first; kill those that take too long."""
        self.stopping = True
        for group in reversed(self.groups):
            for program in group:
                program.terminate()
            deadline = time.monotonic() + self.grace
            while any(program.process for program in group):
                if self.interrupts > 1 or time.monotonic() > deadline:
                    for program in group:
                        program.kill()
                self.tick()

    def _launch(self, program: Program) -> None:
        is_first_start = program.restart_at is None
        program.started_at, program.restart_at = time.monotonic(), None
        try:
            program.process = program.start()
        except (OSError, RuntimeError) as error:
            if is_first_start:
                raise
            self._schedule_restart(program, str(error), program.started_at)
            return
        if (pipe := program.process.stdout) is not None:
            # Another process may keep the pipe open after the program has stopped.
            os.set_blocking(pipe.fileno(), False)
            self.selector.register(pipe, selectors.EVENT_READ, program)

    def _reap(self, program: Program, now: float) -> None:
        assert program.process is not None
        # The rest of its group would keep its port.
        program.kill()
        while self._forward_output(program):
            pass
        code, program.process = program.process.returncode, None
        reason = f"exit code {code}" if code >= 0 else f"signal {-code}"
        if not self.stopping:
            self._schedule_restart(program, f"stopped with {reason}", now)

    def _schedule_restart(self, program: Program, reason: str, now: float) -> None:
        if now - program.started_at > STABLE_AFTER:
            program.restart_delay = MIN_RESTART_DELAY
        self.print_line(
            program, f"{reason}; starting it again in {program.restart_delay:g} s"
        )
        program.restart_at = now + program.restart_delay
        program.restart_delay = min(program.restart_delay * 2, MAX_RESTART_DELAY)

    def _forward_output(self, program: Program) -> bool:
        """Print the output that is there; False if there is none."""
        pipe = program.process and program.process.stdout
        if not pipe or pipe.closed:
            return False
        try:
            chunk = os.read(pipe.fileno(), MAX_LINE)
        except BlockingIOError:
            chunk = b""
        *lines, rest = (program.unfinished_line + chunk).split(b"\n")
        # The end of the output ends a line, and so does its maximum length.
        if rest and (not chunk or len(rest) > MAX_LINE):
            lines, rest = [*lines, rest], b""
        program.unfinished_line = rest
        for line in lines:
            self.print_line(program, line.decode("utf-8", "replace").rstrip("\r"))
        if not chunk:
            self.selector.unregister(pipe)
            pipe.close()
        return bool(chunk)

    def print_line(self, program: Program, line: str) -> None:
        label = f"{program.name:<{self.width}} |"
        if self.out.isatty() and "NO_COLOR" not in os.environ:
            names = [program.name for group in self.groups for program in group]
            colour = COLOURS[names.index(program.name) % len(COLOURS)]
            label = f"\x1b[{colour}m{label}\x1b[0m"
        try:
            self.out.write(f"{label} {line}\n")
            self.out.flush()
        except OSError:
            # The terminal or the pipe is gone.
            self.stopping = True
