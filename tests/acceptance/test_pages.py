"""Every command of every page, as a reader pastes it, on a running service.

A command that cannot be run here stands in NOT_RUN with the reason; a new one that is
neither run nor named there fails these tests.
"""

from __future__ import annotations

import os
import pty
import re
import shlex
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator
from datetime import UTC, date, datetime, timedelta
from pathlib import Path
from typing import NamedTuple

import pytest
import requests

from scheduler_service.local.urls import PORT
from tests.acceptance.harness import ROOT, Harness, eventually, free_port
from tests.acceptance.pages import (
    PAGES,
    ConsoleBlock,
    ConsoleStep,
    OutputMismatch,
    compare,
    read_blocks,
)
from tests.receiver import Receiver

pytestmark = pytest.mark.timeout(300)

_DOCKER = "there is no Docker here; deployment files have tests of their own"
_CLUSTER = (
    "there is no cluster here; tests/architecture/test_charts.py renders the chart"
)
_SYSTEMD = "changes the machine; tests/architecture/test_systemd.py checks the units"
_PROXY = "changes the machine; test_proxies.py starts nginx with this file"
_CELLS = "test_cells.py starts cells as the page says, and test_door.py a door"
_SPLIT = "takes two cells and a standby; test_splits.py splits a cell as the page says"
_PIP = "would change the environment of the tests, which has it already"
_TWO_DATABASES = "takes a second database; tests/integration/moving runs it"
_SLOW = "takes minutes; it is a test itself"
_HA = "takes several machines; test_ha_stack.py starts the stack of the page"
_BROKERS = "takes several machines; test_sentinel.py and test_rabbitmq.py start them"
NOT_RUN = {
    "apt install patroni etcd-server haproxy redis-sentinel": _HA,
    "deploy/ha/start.sh": _HA,
    "kill -9 $(jq .nodes.pg1.patroni var/ha/stack.json) $(head -1 var/ha/pg1/data/postmaster.pid)": _HA,
    "deploy/ha/start.sh --node pg1": _HA,
    "patronictl -c /etc/patroni/config.yml switchover": _HA,
    "curl -s http://127.0.0.1:7504/cluster": _HA,
    "curl -s http://127.0.0.1:7506/cluster": _HA,
    "export TOKEN=$(jq -r .token var/ha/stack.json)": _HA,
    """curl -sS http://127.0.0.1:7507/tasks/ -H "Authorization: Bearer $TOKEN" -d '{"task_type": "periodic", "frequency": 4, "start_datetime": "'$(date -u -d '+4 seconds' +%FT%TZ)'", "end_datetime": null, "url": "http://127.0.0.1:7510/tick"}'""": _HA,
    "tail -f var/ha/echo.log": _HA,
    "kill -9 $(jq .broker.redis1.pid var/ha/stack.json)": _HA,
    "curl -s http://127.0.0.1:7507/readyz": _HA,
    "redis-server /etc/redis/redis.conf                                 # on the first machine": _BROKERS,
    "redis-server /etc/redis/redis.conf --replicaof redis1 6379         # on the second one": _BROKERS,
    "redis-server /etc/redis/sentinel.conf --sentinel                   # on three machines": _BROKERS,
    "redis-cli -p 26379 -a … sentinel get-master-addr-by-name scheduler": _BROKERS,
    "rabbitmqctl cluster_status": _BROKERS,
    "rabbitmq-queues grow rabbit@mq3 all": _BROKERS,
    "REDIS_BIND=0.0.0.0 REDIS_PORT=6379 REDIS_DIR=/var/lib/redis REDIS_PASSWORD=… \\": _BROKERS,
    "SENTINEL_BIND=0.0.0.0 SENTINEL_PORT=26379 SENTINEL_DIR=/var/lib/redis SENTINEL_PASSWORD=… SENTINEL_MASTER=scheduler \\": _BROKERS,
    "RABBITMQ_BIND=0.0.0.0 RABBITMQ_PORT=5672 RABBITMQ_USER=scheduler RABBITMQ_PASSWORD=… \\": _BROKERS,
    "apt install haproxy": _CELLS,
    "make cells n=2": _CELLS,
    "curl -sSi http://127.0.0.1:8000/tasks/ -H 'Authorization: Bearer sch_1_…' | grep -i x-scheduler-cell": _CELLS,
    "curl -sSi http://127.0.0.1:8000/tasks/ -H 'Authorization: Bearer sch_2_…' | grep -i x-scheduler-cell": _CELLS,
    "createdb --host pg-directory directory": _CELLS,
    "export DIRECTORY_URL=postgresql://scheduler@pg-directory/directory": _CELLS,
    "python manage.py add_cell eu2 --server 10.0.2.10:8000 --host eu2.scheduler.example.org": _CELLS,
    "python manage.py join_directory": _CELLS,
    "export DOOR_DIR=/var/lib/haproxy/door DOOR_SOCKET=/run/haproxy/door.sock DOOR_BIND=:8000": _CELLS,
    "python manage.py write_door": _CELLS,
    "haproxy -f deploy/door/haproxy.cfg -f $DOOR_DIR/cells.cfg": _CELLS,
    "python manage.py follow_directory": _CELLS,
    "python manage.py assign_tenant acme eu2": _CELLS,
    'psql "$EU1_SUPERUSER_URL" -c "SELECT pg_create_physical_replication_slot(\'eu2\')"': _SPLIT,
    """pg_basebackup --pgdata=/srv/postgresql/eu2 --dbname="$EU1_REPLICATION_URL" --slot=eu2 --write-recovery-conf --checkpoint=fast --progress""": _SPLIT,
    """echo "archive_mode = off" >> /srv/postgresql/eu2/postgresql.auto.conf""": _SPLIT,
    "python manage.py split_cell eu2 --half --to postgresql://scheduler:…@pg-eu2:5432/scheduler": _SPLIT,
    "python manage.py split_cell eu2 --abort --to postgresql://scheduler:…@pg-eu2:5432/scheduler": _SPLIT,
    "pg_ctl --pgdata=/srv/postgresql/eu2 start": _SPLIT,
    "patronictl -c eu2.yml edit-config --set standby_cluster=null --force": _SPLIT,
    """kubectl patch cluster eu2 --type merge --patch '{"spec": {"replica": {"enabled": false}}}'""": _SPLIT,
    "python manage.py move_tenant acme --to postgresql://scheduler:…@db7:5432/scheduler": _TWO_DATABASES,
    "python manage.py move_tenant acme --to postgresql://scheduler:…@db7:5432/scheduler --abort": _TWO_DATABASES,
    "python manage.py export_tenant acme acme-….zip": _TWO_DATABASES,
    "python manage.py import_tenant acme-….zip": _TWO_DATABASES,
    "docker build --tag registry.example.org/scheduler-service:1 .": _DOCKER,
    "docker push registry.example.org/scheduler-service:1": _DOCKER,
    "kubectl create namespace scheduler": _CLUSTER,
    "kubectl --namespace scheduler create secret generic scheduler-secrets --from-env-file=secrets.env": _CLUSTER,
    "helm install cell-1 deploy/charts/scheduler-cell --namespace scheduler --values cell-1.yaml --wait --timeout 15m": _CLUSTER,
    "helm upgrade cell-1 deploy/charts/scheduler-cell --namespace scheduler --values cell-1.yaml --wait --timeout 15m": _CLUSTER,
    "helm install door deploy/charts/scheduler-door --namespace scheduler-door --values door.yaml": _CLUSTER,
    "kubectl --namespace scheduler-door rollout restart statefulset/door": _CLUSTER,
    "kubectl --namespace scheduler get pods": _CLUSTER,
    "kubectl --namespace scheduler exec -it deploy/cell-1-web -- python manage.py createsuperuser": _CLUSTER,
    "kubectl --namespace scheduler exec deploy/cell-1-web -- python manage.py issue_token --tenant acme --user ann": _CLUSTER,
    "kubectl --namespace scheduler port-forward service/cell-1-flower 5555": _CLUSTER,
    "useradd --system --home-dir /var/lib/scheduler --shell /usr/sbin/nologin scheduler": _SYSTEMD,
    "python3 -m venv /opt/scheduler/.venv": _SYSTEMD,
    "/opt/scheduler/.venv/bin/pip install --require-hashes --requirement /opt/scheduler/requirements.lock": _SYSTEMD,
    "systemd-run --pipe --wait --property=EnvironmentFile=/etc/scheduler/scheduler.env --setenv=SCHEDULER_ENV=production --working-directory=/opt/scheduler /opt/scheduler/.venv/bin/python manage.py collectstatic --no-input": _SYSTEMD,
    "systemd-run --pty --wait --property=EnvironmentFile=/etc/scheduler/scheduler.env --setenv=SCHEDULER_ENV=production --working-directory=/opt/scheduler /opt/scheduler/.venv/bin/python manage.py createsuperuser": _SYSTEMD,
    "cp deploy/systemd/scheduler* /etc/systemd/system/": _SYSTEMD,
    "systemctl daemon-reload": _SYSTEMD,
    "systemctl enable --now scheduler.target": _SYSTEMD,
    "systemctl list-units 'scheduler*'": _SYSTEMD,
    "systemctl enable --now scheduler-worker@3.service": _SYSTEMD,
    "systemctl restart scheduler-migrate.service": _SYSTEMD,
    "systemctl restart scheduler-worker@1.service": _SYSTEMD,
    "nginx -t": _PROXY,
    "systemctl reload nginx": _PROXY,
    "caddy validate --config /etc/caddy/Caddyfile": _PROXY,
    "systemctl reload caddy": _PROXY,
    "curl -sS https://scheduler.example.org/readyz": _PROXY,
    ".venv/bin/python -m pytest -n 0 -s -m slow tests/acceptance/test_outages.py": _SLOW,
    ".venv/bin/python -m pytest -n 0 -m slow tests/acceptance/test_chaos_cells.py": _SLOW,
    "docker compose exec web python manage.py createsuperuser": _DOCKER,
    "docker compose exec web python manage.py issue_token --tenant acme --user ann": _DOCKER,
    "docker compose up --build --detach": _DOCKER,
    "kill -9 $(cat var/worker.pid)": "test_run.py runs it under `make run`",
    "pip install ./clients/python": _PIP,
    "pip install standardwebhooks": _PIP,
    'psql "host=pg2 user=postgres" -c "SELECT pg_promote()"': (
        "takes a standby; test_promotion.py promotes one"
    ),
    "python manage.py probe worker": "test_run.py runs it under `make run`",
    "redis-cli config get maxmemory-policy": "asks a Redis of the operator's at its port",
    "scheduler listen --port 8001 --secret whsec_… --status 503 --times 2": (
        "does not end; test_client_command.py runs it"
    ),
}
# Told of in pages as a day that is move_day; the commands say yesterday.
WRITTEN_ON = date(2026, 11, 21)
DAY = re.compile(r"\b2026-11-2\d\b")
ASSIGNMENTS = re.compile(r"(export )?([A-Z_]+=\S* ?)+")
RUNNABLE = re.compile(
    r"(?:SIGNING_SECRET=\S+ (?P<server>python|node) (?P<file>\S+)|curl|scheduler|make"
    r"|python -c|pg_dump|pg_restore|createdb|dropdb|psql --dbname|helm template"
    r"|\.venv/bin/python (?:docs/examples/\w+\.py|manage\.py|-m tests\.chaos))\b"
)
# Commands that read files of the repository.
OF_THE_REPOSITORY = ("make ", "helm ")
MANAGE = re.compile(r"python manage\.py (.*)")
SHARED_SECRET = "0f4c" + "0" * 44
# The applied file of tasks is that of the page, an hour earlier.
EARLIER_CRON = ('"0 7 * * *"', '"0 6 * * *"')


def is_run_by_manage_test(command: str) -> bool:
    """Whether tests/integration/ops/test_docs.py runs it, which is quicker."""
    found = MANAGE.fullmatch(command)
    return bool(found) and not re.search("…|<", command.replace("sch_…", ""))


def all_commands() -> Iterator[tuple[Path, str]]:
    for page in PAGES:
        for block in read_blocks(page):
            yield from ((page, step.command) for step in block.steps)


def is_run_here(command: str) -> bool:
    if command in NOT_RUN or is_run_by_manage_test(command):
        return False
    patterns = (ASSIGNMENTS, RUNNABLE, MANAGE)
    return any(pattern.match(command) for pattern in patterns)


class Secrets(NamedTuple):
    """Of the tenant that pages name: an administrator's token, and the key of signatures."""

    token: str
    signing_secret: str


class PageReader:
    """Runs the commands of a page on a running service, as a reader would."""

    def __init__(
        self, harness: Harness, secrets: Secrets, target: Receiver, home: Path
    ) -> None:
        self.harness, self.target, self.home = harness, target, home
        token = secrets.token
        self.api = requests.Session()
        self.api.headers["Authorization"] = f"Bearer {token}"
        self.ids: dict[str, str] = {}
        self.port = free_port()
        self.servers: list[subprocess.Popen[bytes]] = []
        (home / ".curlrc").write_text(f'dump-header = "{home}/headers"\n')
        (home / "bin").mkdir()
        (home / "bin" / "scheduler").write_text(
            f'#!/bin/sh\nexec {sys.executable} -m scheduler_client "$@"\n'
        )
        (home / "bin" / "scheduler").chmod(0o755)
        self.environment = harness.environment | {
            "API": harness.url,
            "TOKEN": token,
            "CURL_HOME": str(home),
            "PATH": f"{home}/bin:{harness.postgres.programs}:{harness.environment['PATH']}",
            "PGHOST": str(harness.postgres.socket_dir),
            "PGPORT": str(PORT),
            "PGUSER": "postgres",
            "PYTHONPATH": f"{ROOT / 'clients' / 'python' / 'src'}:{ROOT}",
        }
        self.own = {
            "sch_…": token,
            "0f4c…": SHARED_SECRET,
            "whsec_…": secrets.signing_secret,
        }

    def close(self) -> None:
        self.api.close()
        while self.servers:
            server = self.servers.pop()
            server.kill()
            server.wait()

    def read(self, page: Path) -> None:
        for block in read_blocks(page):
            steps = [step for step in block.steps if is_run_here(step.command)]
            if steps:
                self._prepare(block)
            for step in steps:
                self._run_step(step, block)

    def _prepare(self, block: ConsoleBlock) -> None:
        """Create the task, run and files that the block takes for granted."""
        text = "\n".join(step.command for step in block.steps)
        for name, make in {
            "ID": self._create_periodic_task,
            "RUN": self._create_failed_run,
            "RUN_URL": self._create_open_run,
        }.items():
            if re.search(rf"\${name}\b", text) and f"{name}=" not in text:
                self.environment[name] = make()
        if "token.txt" in text:
            token = self.harness.manage(
                "issue_token", "--tenant", "demo", "--user", "x"
            )
            (self.home / "token.txt").write_text(token)
        if "tasks.yaml" in text:
            self._apply_earlier_file(block.before["yaml"])

    def _create_periodic_task(self) -> str:
        return self._create_task(
            task_type="periodic", frequency=3600, end_datetime=None, url=self.target.url
        )

    def _create_task(self, **task: object) -> str:
        answer = self.api.post(f"{self.harness.url}/tasks/", json=task, timeout=20)
        assert answer.status_code == 201, answer.text
        return str(answer.json()["id"])

    def _create_due_task(self, path: str, **more: object) -> str:
        at = datetime.now(UTC) + timedelta(seconds=1)
        url = self.target.url + path
        return self._create_task(
            task_type="one_time", run_datetime=at.isoformat(), url=url, **more
        )

    def _create_failed_run(self) -> str:
        self.target.answer("/fails", status=500)
        task = self._create_due_task("/fails")
        runs = f"{self.harness.url}/tasks/{task}/runs/?state=failed"
        found = eventually(lambda: self.api.get(runs, timeout=20).json()["runs"])
        return str(found[0]["id"])

    def _create_open_run(self) -> str:
        path = f"/works/{len(self.target.requests)}"
        self.target.answer(path, status=202)
        self._create_due_task(path, long_work={"deadline": 900})
        [request] = eventually(
            lambda: [each for each in self.target.requests if each.path == path]
        )
        self.environment["RUN_TOKEN"] = request.headers["x-scheduler-run-token"]
        return f"{self.harness.url}/runs/{request.headers['webhook-id']}"

    def _apply_earlier_file(self, text: str) -> None:
        environment = self.environment | {"REPORTS_KEY": "s3cret"}
        for name, written in (
            ("tasks", text),
            ("earlier", text.replace(*EARLIER_CRON)),
        ):
            (self.home / f"{name}.yaml").write_text(written)
        subprocess.run(
            ["scheduler", "apply", "-f", "earlier.yaml", "--yes"],
            env=environment,
            cwd=self.home,
            check=True,
            capture_output=True,
        )

    def _run_step(self, step: ConsoleStep, block: ConsoleBlock) -> None:
        command = self._localize(step.command)
        if ASSIGNMENTS.fullmatch(command):
            self._assign(command)
        elif (found := RUNNABLE.match(command)) and found["server"]:
            self._start_receiver(found["server"], found["file"], block)
        elif not command.startswith("helm ") or shutil.which("helm"):
            self._run(command, step.shown)

    def _localize(self, command: str) -> str:
        """The command with the addresses, ids, secrets and days of this service."""
        port = self.harness.port
        for written, here in {
            **self.ids,
            **self.own,
            "127.0.0.1:8000": f"127.0.0.1:{port}",
            "127.0.0.1:8410": f"127.0.0.1:{port}",
            "http://127.0.0.1:8001": self.target.url,
            "http://127.0.0.1:8411": self.target.url,
            "127.0.0.1:9000": f"127.0.0.1:{self.port}",
        }.items():
            command = command.replace(written, here)
        yesterday = datetime.now(UTC).date() - timedelta(days=1)

        def move_day(found: re.Match[str]) -> str:
            return str(date.fromisoformat(found[0]) - WRITTEN_ON + yesterday)

        return DAY.sub(move_day, command)

    def _assign(self, command: str) -> None:
        for each in shlex.split(command.removeprefix("export ")):
            name, _, value = each.partition("=")
            if "…" in value:
                self.environment.setdefault(name, "s3cret")
            else:
                self.environment[name] = value

    def _start_receiver(self, program: str, file: str, block: ConsoleBlock) -> None:
        """Start a receiver of the page in place of the one before it."""
        path = sys.executable if program == "python" else shutil.which(program)
        if path is None:
            return
        self.port = free_port()
        language = {"python": "python", "node": "javascript"}[program]
        written = self.home / file
        written.write_text(block.after[language].replace("9000", str(self.port)))
        secret = {"SIGNING_SECRET": self.own["whsec_…"]}
        self.servers.append(
            subprocess.Popen([path, written], env=self.environment | secret)
        )
        unsigned = f"http://127.0.0.1:{self.port}/"

        def refuses() -> bool:
            try:
                return requests.post(unsigned, data="{}", timeout=5).status_code == 401
            except requests.ConnectionError:
                return False

        eventually(refuses)

    def _run(self, command: str, shown: str) -> None:
        """Run a command, and compare its output; repeat it if it only reads."""
        if command.startswith("make ") or not shown:
            self._output_of(re.sub(r"^make ", "make -n ", command), shown)
        elif re.match(r"curl (?!.* -[dX] )", command):
            [ids] = eventually(lambda: self._try_compare(command, shown), timeout=20)
            self.ids |= ids
        else:
            self.ids |= compare(shown, self._output_of(command, shown))

    def _try_compare(self, command: str, shown: str) -> list[dict[str, str]]:
        output = self._output_of(command, shown)
        try:
            return [compare(shown, output)]
        except OutputMismatch:
            return []

    def _output_of(self, command: str, shown: str) -> str:
        headers = self.home / "headers"
        headers.unlink(missing_ok=True)
        done = self._shell(command)
        assert done.returncode == 0, f"{command}\n{done.stdout}{done.stderr}"
        if headers.exists() and not shown:
            status = re.findall(r"^HTTP/\S+ (\d+)", headers.read_text(), re.MULTILINE)
            assert status[-1] < "400", f"{command}\n{done.stdout}"
        return done.stdout

    def _shell(self, command: str) -> subprocess.CompletedProcess[str]:
        """Run it at a terminal whose user answers yes."""
        command = re.sub(r"^(\.venv/bin/)?python ", f"{sys.executable} ", command)
        command = re.sub(
            r" (manage|docs/examples/\w+)\.py\b", rf" {ROOT}/\1.py", command
        )
        asking, terminal = pty.openpty()
        os.write(asking, b"yes\n")
        try:
            return subprocess.run(
                ["/bin/bash", "-c", command],
                env=self.environment,
                cwd=ROOT if command.startswith(OF_THE_REPOSITORY) else self.home,
                stdin=terminal,
                capture_output=True,
                text=True,
                timeout=120,
            )
        finally:
            os.close(asking)
            os.close(terminal)


@pytest.fixture(scope="module")
def secrets(harness: Harness) -> Secrets:
    for part in ("worker", "beat"):
        harness.start_part(part)
    harness.manage("issue_token", "--tenant", "demo", "--user", "demo")
    harness.manage("set_role", "demo", "admin", "--tenant", "demo")
    token = harness.manage("issue_token", "--tenant", "demo", "--user", "demo")
    signing_secret = harness.manage("signing_secret", "demo")
    eventually(harness.is_ready)
    return Secrets(token, signing_secret)


@pytest.fixture
def reader(
    harness: Harness, secrets: Secrets, target: Receiver, tmp_path: Path
) -> Iterator[PageReader]:
    harness.query("DELETE FROM tasks_api_message RETURNING 1")
    reader = PageReader(harness, secrets, target, tmp_path)
    yield reader
    reader.close()


def pages_with(which: Callable[[str], bool]) -> list[Path]:
    return sorted({page for page, command in all_commands() if which(command)})


@pytest.mark.parametrize(
    "page", pages_with(is_run_here), ids=lambda page: str(page.relative_to(ROOT))
)
def test_the_commands_of_a_page_do_what_it_shows(
    reader: PageReader, page: Path
) -> None:
    reader.read(page)


def test_every_command_is_run_or_has_a_reason() -> None:
    neither = [
        f"{page.name}: {command}"
        for page, command in all_commands()
        if not (is_run_here(command) or is_run_by_manage_test(command))
        and command not in NOT_RUN
    ]

    assert neither == []


def test_every_reason_is_for_a_command_that_is_there() -> None:
    assert NOT_RUN.keys() <= {command for _, command in all_commands()}
