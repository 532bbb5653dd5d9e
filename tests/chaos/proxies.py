"""Loopback proxies between each part and each server, in a process of their own.

A proxy is open, cut (it resets its connections at once), or silent: it accepts connections
and bytes and passes nothing on. It passes on what it held once it is open again.
"""

from __future__ import annotations

import asyncio
import json
import socket
import subprocess
import sys
from collections.abc import Coroutine, Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any

from scheduler_service.process.supervisor import spawn
from tests.acceptance.harness import ROOT, eventually
from tests.chaos.scripted_target import reset

OPEN, CUT, SILENT = "open", "cut", "silent"
CONTROL_SOCKET, PORTS_FILE = "proxies.sock", "proxies.json"


class PartProxy:
    """One listener, and the socket of the server behind it."""

    def __init__(self, server_socket: str) -> None:
        self._server_socket = server_socket
        self._is_cut = False
        self._is_flowing = asyncio.Event()
        self._is_flowing.set()
        self._writers: set[asyncio.StreamWriter] = set()

    def set_state(self, state: str) -> None:
        self._is_cut = state == CUT
        if state == SILENT:
            self._is_flowing.clear()
        else:
            self._is_flowing.set()
        if self._is_cut:
            for writer in self._writers:
                reset(writer)

    async def handle(
        self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter
    ) -> None:
        writers = {writer}
        self._writers.add(writer)
        try:
            await self._is_flowing.wait()
            if self._is_cut:
                return reset(writer)
            there, back = await asyncio.open_unix_connection(self._server_socket)
            writers.add(back)
            self._writers.add(back)
            await _run_until_one_ends(
                self._pump(reader, back), self._pump(there, writer)
            )
        except OSError:
            reset(writer)
        finally:
            self._writers -= writers
            for each in writers:
                each.close()

    async def _pump(
        self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter
    ) -> None:
        with suppress(OSError):
            while data := await reader.read(65536):
                await self._is_flowing.wait()
                writer.write(data)
                await writer.drain()
            await self._is_flowing.wait()


async def _run_until_one_ends(*pumps: Coroutine[Any, Any, None]) -> None:
    tasks = [asyncio.create_task(pump) for pump in pumps]
    await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
    for task in tasks:
        task.cancel()
    await asyncio.wait(tasks)


async def serve(home: Path, servers: Mapping[str, str]) -> None:
    proxies = {name: PartProxy(server) for name, server in servers.items()}
    ports = {}
    for name, proxy in proxies.items():
        listener = await asyncio.start_server(proxy.handle, "127.0.0.1", 0, backlog=512)
        ports[name] = listener.sockets[0].getsockname()[1]

    async def handle_commands(
        reader: asyncio.StreamReader, writer: asyncio.StreamWriter
    ) -> None:
        while line := await reader.readline():
            name, state = line.decode().split()
            proxies[name].set_state(state)
            writer.write(b"done\n")
        writer.close()

    control = await asyncio.start_unix_server(handle_commands, home / CONTROL_SOCKET)
    written = home / f"{PORTS_FILE}.new"
    written.write_text(json.dumps(ports), encoding="utf-8")
    written.rename(home / PORTS_FILE)
    await control.serve_forever()


class PartProxies:
    """Starts the process of the proxies, and sets their states."""

    def __init__(self, home: Path, servers: Mapping[str, str]) -> None:
        self._home = home
        arguments = [str(home), json.dumps(servers)]
        self.process: subprocess.Popen[bytes] = spawn(
            [sys.executable, "-m", "tests.chaos.proxies", *arguments], cwd=ROOT
        )
        eventually((home / PORTS_FILE).exists)
        self.ports: dict[str, int] = json.loads((home / PORTS_FILE).read_text())

    def set_state(self, name: str, state: str) -> None:
        with socket.socket(socket.AF_UNIX) as control:
            control.settimeout(10)
            control.connect(str(self._home / CONTROL_SOCKET))
            control.sendall(f"{name} {state}\n".encode())
            assert control.recv(16) == b"done\n", name


if __name__ == "__main__":
    asyncio.run(serve(Path(sys.argv[1]), json.loads(sys.argv[2])))
