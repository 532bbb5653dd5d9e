"""Programs run side by side, are started again when they die, and stop in order."""

from __future__ import annotations

import io
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from scheduler_service.process import supervisor
from scheduler_service.process.supervisor import (
    Program,
    Supervisor,
    read_procfile,
    spawn,
)


def program(name: str, code: str) -> Program:
    def start() -> subprocess.Popen[bytes]:
        return spawn(
            [sys.executable, "-u", "-c", code],
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
        )

    return Program(name, start)


SLEEP = "import time; print('up'); time.sleep(60)"
# Says goodbye, as a server does that finishes its work first.
POLITE = """
import signal, sys, time
def leave(*_):
    print("goodbye"); sys.exit()
signal.signal(signal.SIGTERM, leave)
print("up")
time.sleep(60)
"""
STUBBORN = """
import signal, time
signal.signal(signal.SIGTERM, signal.SIG_IGN)
print("up")
time.sleep(60)
"""


@pytest.fixture
def out() -> io.StringIO:
    return io.StringIO()


@pytest.fixture
def supervise(out: io.StringIO) -> Iterator[Supervisor]:
    with Supervisor(out, width=6, grace=5) as supervise:
        yield supervise


def says(out: io.StringIO, text: str) -> Callable[[], bool]:
    return lambda: text in out.getvalue()


def is_alive(pid: int) -> bool:
    try:
        state = Path(f"/proc/{pid}/stat").read_text(encoding="utf-8")
    except FileNotFoundError:
        return False
    return state.rpartition(")")[2].split()[0] != "Z"


def test_every_line_carries_the_name_of_its_program(
    supervise: Supervisor, out: io.StringIO
) -> None:
    supervise.start(program("web", "print('one'); print('two', end='')"))

    assert supervise.wait_until(says(out, "two"), timeout=10)
    assert out.getvalue().splitlines()[:2] == ["web    | one", "web    | two"]


def test_a_program_that_dies_is_started_again(
    supervise: Supervisor, out: io.StringIO
) -> None:
    web = program("web", SLEEP)
    supervise.start(web)
    assert supervise.wait_until(says(out, "up"), timeout=10)
    assert web.process is not None
    first = web.process.pid

    os.kill(first, signal.SIGKILL)

    assert supervise.wait_until(lambda: out.getvalue().count("up") == 2, timeout=10)
    assert "stopped with signal 9; starting it again in 0.5 s" in out.getvalue()
    assert web.process.pid != first


def test_a_program_that_keeps_dying_waits_longer_each_time(
    supervise: Supervisor, out: io.StringIO
) -> None:
    supervise.start(program("web", "raise SystemExit(3)"))

    assert supervise.wait_until(says(out, "again in 2 s"), timeout=15)
    assert "exit code 3; starting it again in 0.5 s" in out.getvalue()
    assert "exit code 3; starting it again in 1 s" in out.getvalue()


def test_a_program_that_lived_long_starts_over_with_a_short_wait(
    supervise: Supervisor, out: io.StringIO, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(supervisor, "STABLE_AFTER", 0.0)
    web = program("web", "raise SystemExit(3)")
    web.restart_delay = 16.0

    supervise.start(web)

    assert supervise.wait_until(says(out, "again in 0.5 s"), timeout=10)


def test_groups_stop_in_the_opposite_order(
    supervise: Supervisor, out: io.StringIO
) -> None:
    supervise.start(program("first", POLITE))
    supervise.start(program("second", POLITE))
    assert supervise.wait_until(lambda: out.getvalue().count("up") == 2, timeout=10)

    supervise.stop()

    assert out.getvalue().splitlines()[2:] == ["second | goodbye", "first  | goodbye"]


def test_a_program_that_does_not_stop_in_time_is_killed(
    supervise: Supervisor, out: io.StringIO
) -> None:
    web = program("web", STUBBORN)
    supervise.start(web)
    assert supervise.wait_until(says(out, "up"), timeout=10)
    supervise.grace = 0.2

    supervise.stop()

    assert web.process is None


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_ends_the_run(supervise: Supervisor, number: signal.Signals) -> None:
    os.kill(os.getpid(), number)

    supervise.run()

    assert supervise.stopping


def test_a_second_interrupt_does_not_wait(
    supervise: Supervisor, out: io.StringIO
) -> None:
    supervise.grace = 60
    supervise.start(program("web", STUBBORN))
    assert supervise.wait_until(says(out, "up"), timeout=10)
    os.kill(os.getpid(), signal.SIGINT)
    os.kill(os.getpid(), signal.SIGINT)
    before = time.monotonic()

    supervise.stop()

    assert time.monotonic() - before < 10


# make passes SIGTERM on, so a process group that is told to stop hears it twice.
def test_a_second_sigterm_is_not_impatience(
    supervise: Supervisor, out: io.StringIO
) -> None:
    supervise.start(program("web", POLITE))
    assert supervise.wait_until(says(out, "up"), timeout=10)
    os.kill(os.getpid(), signal.SIGTERM)
    os.kill(os.getpid(), signal.SIGTERM)

    supervise.stop()

    assert "goodbye" in out.getvalue()


def test_a_program_that_forks_leaves_nothing_behind(
    supervise: Supervisor, out: io.StringIO
) -> None:
    child = "import subprocess, sys; print(subprocess.Popen(['sleep', '60']).pid)"
    supervise.start(program("web", child))

    assert supervise.wait_until(says(out, "again in"), timeout=10)
    pid = int(out.getvalue().split("| ")[1].split("\n")[0])

    assert supervise.wait_until(lambda: not is_alive(pid), timeout=10)


@pytest.mark.skipif(
    sys.platform != "linux", reason="only Linux sends a signal when a parent dies"
)
def test_a_killed_parent_takes_its_programs_along() -> None:
    parent = subprocess.Popen(
        [sys.executable, "-u", "-c", PARENT], stdout=subprocess.PIPE, text=True
    )
    assert parent.stdout is not None
    with parent:
        assert parent.stdout.readline() == "up\n"

        parent.kill()

        # The pipe ends when its last writer does, long before the sleep is over.
        assert parent.stdout.read() == ""


PARENT = """
import time
from scheduler_service.process.supervisor import spawn
spawn(["sleep", "600"])
print("up")
time.sleep(600)
"""


def test_the_procfile_names_its_commands(tmp_path: Path) -> None:
    procfile = tmp_path / "Procfile"
    procfile.write_text("# all of it\nweb: serve --at host:1\n\nworker: work\n")

    assert read_procfile(procfile) == {"web": "serve --at host:1", "worker": "work"}
