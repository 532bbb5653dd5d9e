"""The tools that break things do break them, and give them back."""

from __future__ import annotations

import os
import socket
import socketserver
import struct
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.chaos.cluster import INJECTED_PATH
from tests.chaos.log_pipes import LogPipe
from tests.chaos.proxies import CUT, OPEN, SILENT, PartProxies
from tests.name_server import NameServer


class _Echo(socketserver.StreamRequestHandler):
    def handle(self) -> None:
        while line := self.rfile.readline():
            self.wfile.write(line)


@pytest.fixture
def proxies(tmp_path: Path) -> Iterator[PartProxies]:
    path = str(tmp_path / "echo")
    with socketserver.ThreadingUnixStreamServer(path, _Echo) as server:
        server.daemon_threads = True
        threading.Thread(target=server.serve_forever, daemon=True).start()
        made = PartProxies(tmp_path, {"a": path, "b": path})
        yield made
        made.process.kill()
        made.process.wait()
        server.shutdown()


def connected(proxies: PartProxies, name: str = "a") -> socket.socket:
    connection = socket.create_connection(
        ("127.0.0.1", proxies.ports[name]), timeout=10
    )
    connection.sendall(b"hello\n")
    return connection


def greet(proxies: PartProxies, name: str) -> bytes:
    with connected(proxies, name) as connection:
        return connection.recv(6)


def test_a_proxy_that_is_cut_resets_who_uses_it_and_no_other(
    proxies: PartProxies,
) -> None:
    with connected(proxies) as one, connected(proxies, "b") as other:
        assert one.recv(6) == other.recv(6) == b"hello\n"

        proxies.set_state("a", CUT)

        with pytest.raises(ConnectionResetError):
            one.recv(6)
        with pytest.raises(ConnectionError):
            greet(proxies, "a")
        other.sendall(b"again\n")
        assert other.recv(6) == b"again\n"

    proxies.set_state("a", OPEN)
    assert greet(proxies, "a") == b"hello\n"


def test_what_a_silent_proxy_held_flows_on_when_it_is_open_again(
    proxies: PartProxies,
) -> None:
    with connected(proxies) as one:
        assert one.recv(6) == b"hello\n"

        proxies.set_state("a", SILENT)
        one.sendall(b"again\n")
        with connected(proxies) as late:
            for each in (one, late):
                each.settimeout(0.3)
                with pytest.raises(TimeoutError):
                    each.recv(6)
                each.settimeout(10)

            proxies.set_state("a", OPEN)
            assert (one.recv(6), late.recv(6)) == (b"again\n", b"hello\n")


def test_a_log_that_is_not_read_takes_no_line_more(tmp_path: Path) -> None:
    log = LogPipe(tmp_path / "part.log")
    part = os.dup(log.writer)
    log.start_reading()
    os.write(part, b"first\n")

    log.stop_reading()
    os.set_blocking(part, False)
    with pytest.raises(BlockingIOError):
        os.write(part, b"second\n")
    log.resume_reading()
    os.set_blocking(part, True)
    os.write(part, b"third\n")
    os.close(part)
    log.join(10)

    said = (tmp_path / "part.log").read_text().split()
    assert said == ["first", "third"]


def test_a_process_lives_by_the_clock_that_its_file_says(tmp_path: Path) -> None:
    clock = tmp_path / "clock"
    clock.write_bytes(struct.pack("=q", 3600 * 10**9))
    script = """
import datetime, time
for _ in range(2):
    a, b = time.time(), datetime.datetime.now(datetime.UTC).timestamp()
    print(a, b, time.monotonic(), flush=True)
    input()
"""
    with subprocess.Popen(
        [sys.executable, "-c", script],
        env=os.environ | {"PYTHONPATH": str(INJECTED_PATH), "CHAOS_CLOCK": str(clock)},
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    ) as process:
        assert process.stdin is not None
        assert process.stdout is not None
        for off in (3600, -3600):
            *moments, monotonic = map(float, process.stdout.readline().split())
            assert all(abs(each - time.time() - off) < 60 for each in moments)
            assert abs(monotonic - time.monotonic()) < 60
            with clock.open("r+b") as file:
                file.write(struct.pack("=q", -3600 * 10**9))
            process.stdin.write("\n")
            process.stdin.flush()


def test_name_servers_may_know_a_domain_and_take_their_time() -> None:
    server = NameServer()
    server.knows_all_of("chaos.test", "127.0.0.9")
    host, _, port = server.address.partition(":")
    question = b"\0\7\1\0\0\1\0\0\0\0\0\0\1a\5chaos\4test\0\0\1\0\1"
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as asker:
        asker.settimeout(10)
        asker.connect((host, int(port)))

        asker.send(question)
        assert asker.recv(512).endswith(bytes([127, 0, 0, 9]))

        server.hangs("")
        asker.send(question)
        asker.settimeout(0.2)
        with pytest.raises(TimeoutError):
            asker.recv(512)

        server.answers_again()
        server.takes(0.4)
        asked = time.monotonic()
        asker.settimeout(10)
        asker.send(question)
        assert asker.recv(512).endswith(bytes([127, 0, 0, 9]))
        assert time.monotonic() - asked >= 0.4
    server.close()
