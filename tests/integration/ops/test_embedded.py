"""The private servers of a directory start, start again, and are nobody else's."""

from __future__ import annotations

import os
import re
import stat
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import environ
import psycopg
import pytest
from redis import Redis as RedisClient

from scheduler_service.local import redis_server, urls
from scheduler_service.local import server as local_server
from scheduler_service.local.postgres import Postgres
from scheduler_service.local.redis_server import Redis
from scheduler_service.local.state_files import LocalSetupError, load_or_create_secret
from scheduler_service.local.urls import postgres_url, redis_url
from scheduler_service.redis.connections import redis_client_url

SHALLOW = Path("/srv/scheduler/var")
DEEP = Path("/srv", *["a-very-deep-directory"] * 6)


@pytest.fixture
def state_dir(tmp_path_factory: pytest.TempPathFactory) -> Path:
    # Not `tmp_path`: the name of the test in it leaves no room for a socket.
    return tmp_path_factory.mktemp("state")


def test_postgres_is_found_by_its_url(state_dir: Path) -> None:
    server = Postgres(state_dir, durable=False)
    process = server.start()
    try:
        server.wait_until_ready(process)

        with psycopg.connect(postgres_url(state_dir)) as connection:
            facts = connection.execute(
                "SELECT current_database(), current_setting('timezone'),"
                " current_setting('server_encoding'), current_setting('listen_addresses')"
            ).fetchone()

        assert facts == ("scheduler", "UTC", "UTF8", "")
    finally:
        process.send_signal(server.stop_signal)
        assert process.wait(timeout=30) == 0


def test_postgres_starts_again_after_it_was_killed(state_dir: Path) -> None:
    server = Postgres(state_dir, durable=False)
    process = server.start()
    server.wait_until_ready(process)
    process.kill()
    process.wait()
    # As after a restart of the machine: the number in the file is somebody else's.
    pid_file = server.data / "postmaster.pid"
    lines = pid_file.read_text().splitlines()
    pid_file.write_text("\n".join([str(os.getpid()), *lines[1:]]) + "\n")
    (server.socket_dir / f".s.PGSQL.{urls.PORT}.lock").write_text(f"{os.getpid()}\n")

    process = server.start()
    try:
        server.wait_until_ready(process)
    finally:
        process.send_signal(server.stop_signal)
        process.wait(timeout=30)


def test_postgres_starts_though_its_old_number_is_another_postgres_now(
    state_dir: Path, tmp_path_factory: pytest.TempPathFactory
) -> None:
    other = Postgres(tmp_path_factory.mktemp("other"), durable=False)
    neighbour = other.start()
    other.wait_until_ready(neighbour)
    server = Postgres(state_dir, durable=False)
    process = server.start()
    server.wait_until_ready(process)
    process.kill()
    process.wait()
    pid_file = server.data / "postmaster.pid"
    lines = pid_file.read_text().splitlines()
    pid_file.write_text("\n".join([str(neighbour.pid), *lines[1:]]) + "\n")
    lock = server.socket_dir / f".s.PGSQL.{urls.PORT}.lock"
    lock.write_text(lock.read_text().replace(lines[0], str(neighbour.pid)))

    process = server.start()
    try:
        server.wait_until_ready(process)
        assert other.is_ready()
    finally:
        for each, made in ((process, server), (neighbour, other)):
            each.send_signal(made.stop_signal)
            each.wait(timeout=30)


def test_a_postgres_that_was_started_by_hand_is_left_alone(state_dir: Path) -> None:
    server = Postgres(state_dir, durable=False)
    process = server.start()
    server.wait_until_ready(process)

    server._remove_stale_files()
    try:
        assert (server.data / "postmaster.pid").exists()
    finally:
        process.send_signal(server.stop_signal)
        process.wait(timeout=30)


def tear_the_middle(path: Path) -> None:
    content = bytearray(path.read_bytes())
    middle = len(content) // 2
    del content[middle : middle + 5]
    path.write_bytes(content)


def tear_the_end(path: Path) -> None:
    with path.open("r+b") as file:
        file.truncate(path.stat().st_size - 3)


def fill_with_zeros(path: Path) -> None:
    path.write_bytes(bytes(path.stat().st_size))


@pytest.mark.parametrize("tear", [tear_the_end, tear_the_middle, fill_with_zeros])
def test_redis_starts_after_a_crash_has_torn_its_file(
    state_dir: Path, tear: Callable[[Path], None], caplog: pytest.LogCaptureFixture
) -> None:
    server = Redis(state_dir)
    process = server.start()
    server.wait_until_ready(process)
    with RedisClient.from_url(redis_client_url(server.url)) as client:
        for number in range(20):
            client.set(f"bell-{number}", "rung" * 10)
    process.send_signal(server.stop_signal)
    process.wait(timeout=30)
    # In one file up to Redis 6, in a directory since Redis 7.
    files = [path for path in server.home.rglob("appendonly*.aof") if path.is_file()]
    tear(max(files, key=lambda path: path.stat().st_size))

    process = server.start()
    try:
        server.wait_until_ready(process)
        with RedisClient.from_url(redis_client_url(server.url)) as client:
            left = len(client.keys())
    finally:
        process.send_signal(server.stop_signal)
        process.wait(timeout=30)

    if tear is tear_the_end:
        assert left == 19
    else:
        assert left == 0
        assert "starts without them" in caplog.text


def test_two_servers_never_share_a_directory(
    state_dir: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(local_server, "STOP_TIMEOUT", 0.1)
    server = Redis(state_dir)
    process = server.start()
    try:
        server.wait_until_ready(process)

        with pytest.raises(LocalSetupError, match="Redis already runs on"):
            Redis(state_dir).start()
    finally:
        process.send_signal(server.stop_signal)
        process.wait(timeout=30)


def test_redis_keeps_what_it_was_given(state_dir: Path) -> None:
    server = Redis(state_dir)
    process = server.start()
    server.wait_until_ready(process)
    with RedisClient.from_url(redis_client_url(redis_url(state_dir))) as client:
        client.set("bell", "rung")
        policy = client.config_get("maxmemory-policy")
    process.send_signal(server.stop_signal)
    process.wait(timeout=30)

    process = server.start()
    try:
        server.wait_until_ready(process)
        with RedisClient.from_url(redis_client_url(redis_url(state_dir))) as client:
            assert client.get("bell") == b"rung"
    finally:
        process.send_signal(server.stop_signal)
        process.wait(timeout=30)
    assert policy == {"maxmemory-policy": "noeviction"}


def test_a_server_that_cannot_start_says_why(state_dir: Path) -> None:
    server = Redis(state_dir)
    server.home.mkdir(mode=0o700)
    server.socket.mkdir()

    with pytest.raises(LocalSetupError, match=r"Redis did not start: .*ocket"):
        server.wait_until_ready(server.start())


def test_an_unreachable_redis_is_explained_in_a_sentence(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(redis_server, "MIN_REDIS_VERSION", (99, 0))

    with pytest.raises(LocalSetupError, match=r"install one .* or set REDIS_URL"):
        Redis(SHALLOW)


def test_a_directory_that_others_may_open_is_refused(state_dir: Path) -> None:
    (state_dir / "redis").mkdir()
    (state_dir / "redis").chmod(0o777)

    with pytest.raises(LocalSetupError, match="only its owner"):
        Redis(state_dir).start()


@pytest.mark.parametrize(
    ("state_dir", "host"),
    [
        (SHALLOW, r"/srv/scheduler/var/postgres"),
        # The kernel has no room for a longer one.
        (DEEP, r"/\w+/scheduler-[0-9a-f]{16}"),
        # libpq would take it for two hosts.
        (Path("/srv/a,b"), r"/\w+/scheduler-[0-9a-f]{16}"),
    ],
)
def test_django_reads_the_url_of_postgres(state_dir: Path, host: str) -> None:
    config = environ.Env().db_url_config(postgres_url(state_dir))

    assert (config["NAME"], config["USER"], config["HOST"]) == (
        "scheduler",
        "postgres",
        "",
    )
    assert re.fullmatch(host, config["OPTIONS"]["host"])


@pytest.mark.parametrize(
    ("url", "expected"),
    [
        (redis_url(SHALLOW), "unix:///srv/scheduler/var/redis/redis.sock?db=0"),
        ("redis+socket:///run/r.sock?virtual_host=7", "unix:///run/r.sock?db=7"),
        ("redis+socket:///run/r.sock", "unix:///run/r.sock?db=0"),
        (
            "rediss://:secret@redis.example:6380/2",
            "rediss://:secret@redis.example:6380/2",
        ),
    ],
)
def test_redis_py_gets_its_own_words(url: str, expected: str) -> None:
    assert redis_client_url(url) == expected


def test_a_secret_is_made_once_and_is_private(tmp_path: Path) -> None:
    path = tmp_path / "new" / "secret"
    drafts = iter(map(str, range(100)))

    with ThreadPoolExecutor(8) as pool:
        seen = set(
            pool.map(
                lambda _: load_or_create_secret(path, lambda: next(drafts)), range(16)
            )
        )

    assert len(seen) == 1
    assert load_or_create_secret(path, lambda: "another") in seen
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert list(path.parent.iterdir()) == [path]


def test_a_secret_that_cannot_be_kept_is_a_sentence(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")

    with pytest.raises(LocalSetupError, match="set SCHEDULER_STATE_DIR"):
        load_or_create_secret(tmp_path / "file" / "secret", str)
