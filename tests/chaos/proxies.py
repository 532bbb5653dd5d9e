"""The way from each part to each server: loopback proxies, in a process of their own.

A link is open, cut (whoever uses it is reset at once), or silent: it takes connections and
bytes and passes nothing on. What a silent link held flows on when it is open again.
"""

from __future__ import annotations

import asyncio
import json
import socket
import subprocess
import sys
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path

from scheduler_service.supervisor import spawn
from tests.acceptance.harness import ROOT, eventually
from tests.chaos.scripted_target import reset

OPEN, CUT, SILENT = "open", "cut", "silent"
CONTROL, PORTS = "links.sock", "links.json"


class Link:
    """One listener, and the server's socket that it leads to."""

    def __init__(self, server: str) -> None:
        self._server = server
        self._is_cut = False
        self._flows = asyncio.Event()
        self._flows.set()
        self._ends: set[asyncio.StreamWriter] = set()

    def become(self, how: str) -> None:
        self._is_cut = how == CUT
        if how == SILENT:
            self._flows.clear()
        else:
            self._flows.set()
        if self._is_cut:
            for end in self._ends:
                reset(end)

    async def talk(
        self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter
    ) -> None:
        ends = {writer}
        self._ends.add(writer)
        try:
            await self._flows.wait()
            if self._is_cut:
                return reset(writer)
            there, back = await asyncio.open_unix_connection(self._server)
            ends.add(back)
            self._ends.add(back)
            await _first_of(self._pump(reader, back), self._pump(there, writer))
        except OSError:
            reset(writer)
        finally:
            self._ends -= ends
            for end in ends:
                end.close()

    async def _pump(
        self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter
    ) -> None:
        with suppress(OSError):
            while data := await reader.read(65536):
                await self._flows.wait()
                writer.write(data)
                await writer.drain()
            await self._flows.wait()


async def _first_of(*pumps) -> None:  # type: ignore[no-untyped-def]
    tasks = [asyncio.ensure_future(pump) for pump in pumps]
    await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
    for task in tasks:
        task.cancel()
    await asyncio.wait(tasks)


async def serve(home: Path, servers: Mapping[str, str]) -> None:
    links, ports = {name: Link(server) for name, server in servers.items()}, {}
    for name, link in links.items():
        listening = await asyncio.start_server(link.talk, "127.0.0.1", 0, backlog=512)
        ports[name] = listening.sockets[0].getsockname()[1]

    async def obey(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while line := await reader.readline():
            name, how = line.decode().split()
            links[name].become(how)
            writer.write(b"done\n")
        writer.close()

    control = await asyncio.start_unix_server(obey, home / CONTROL)
    written = home / f"{PORTS}.new"
    written.write_text(json.dumps(ports), encoding="utf-8")
    written.rename(home / PORTS)
    await control.serve_forever()


class Links:
    """The proxies, as whoever breaks things sees them."""

    def __init__(self, home: Path, servers: Mapping[str, str]) -> None:
        self._home = home
        where = [str(home), json.dumps(servers)]
        self.process: subprocess.Popen[bytes] = spawn(
            [sys.executable, "-m", "tests.chaos.proxies", *where], cwd=ROOT
        )
        eventually((home / PORTS).exists)
        self.ports: dict[str, int] = json.loads((home / PORTS).read_text())

    def become(self, name: str, how: str) -> None:
        with socket.socket(socket.AF_UNIX) as control:
            control.settimeout(10)
            control.connect(str(self._home / CONTROL))
            control.sendall(f"{name} {how}\n".encode())
            assert control.recv(16) == b"done\n", name


if __name__ == "__main__":
    asyncio.run(serve(Path(sys.argv[1]), json.loads(sys.argv[2])))
