"""`manage.py run` alone on its directory, as a newcomer starts it."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
import requests

from tests.acceptance.harness import ROOT, eventually, free_port

pytestmark = pytest.mark.timeout(240)


def choose_ports() -> dict[str, str]:
    return {"PORT": str(free_port()), "FLOWER_PORT": str(free_port())}


class LocalService:
    def __init__(self, home: Path) -> None:
        home.chmod(0o711)
        self.home = home
        self.output = home / "output"
        self.environment = {
            name: value
            for name, value in os.environ.items()
            if name not in {"DATABASE_URL", "REDIS_URL", "SECRET_KEY"}
        } | {"SCHEDULER_STATE_DIR": str(home / "var")}
        self.environment |= choose_ports()

    def start(self) -> None:
        with self.output.open("wb") as out:
            self.process = subprocess.Popen(
                [sys.executable, "manage.py", "run"],
                cwd=ROOT,
                env=self.environment,
                stdout=out,
                stderr=out,
            )
        eventually(
            lambda: "The service is ready" in self.output.read_text(), timeout=120
        )

    def manage(
        self, *arguments: str, **environment: str
    ) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [sys.executable, "manage.py", *arguments],
            cwd=ROOT,
            env=self.environment | environment,
            capture_output=True,
            text=True,
            timeout=60,
        )


@pytest.fixture(scope="module")
def local_service(tmp_path_factory: pytest.TempPathFactory) -> Iterator[LocalService]:
    made = LocalService(tmp_path_factory.mktemp("t"))
    made.start()
    yield made
    made.process.send_signal(signal.SIGTERM)
    made.process.wait(timeout=60)


def test_the_printed_link_lets_the_first_administrator_in(
    local_service: LocalService,
) -> None:
    link = re.search(r"Pages +(http\S+/invite/\S+)", local_service.output.read_text())
    assert link
    browser = requests.Session()
    form = browser.get(link[1], timeout=20)
    values = {
        "password": "a quiet river bends",
        "csrfmiddlewaretoken": browser.cookies["csrftoken"],
    }

    page = browser.post(link[1], values, timeout=20)

    assert "demo@demo" in form.text
    assert "<h1>demo</h1>" in page.text
    members = browser.get(f"{page.url}/settings/members/", timeout=20)
    assert "Invite somebody" in members.text


def test_a_second_run_on_the_same_directory_is_refused_before_it_begins(
    local_service: LocalService,
) -> None:
    second = local_service.manage("run", **choose_ports())

    assert second.returncode == 1
    assert f"already runs on {local_service.home}/var: stop it" in second.stderr
    assert second.stdout == ""


def test_run_beside_running_services_is_refused(
    tmp_path_factory: pytest.TempPathFactory,
) -> None:
    local_service = LocalService(tmp_path_factory.mktemp("t"))
    services = subprocess.Popen(
        [sys.executable, "manage.py", "services"],
        cwd=ROOT,
        env=local_service.environment,
        stdout=subprocess.PIPE,
        text=True,
    )
    output = services.stdout
    assert output is not None
    try:
        eventually(lambda: "services are ready" in output.readline())

        refused = local_service.manage("run", **choose_ports())
    finally:
        services.send_signal(signal.SIGTERM)
        services.communicate(timeout=60)

    assert refused.returncode == 1
    assert "PostgreSQL already runs on" in refused.stderr
    assert "The service is ready" not in refused.stdout


@pytest.mark.parametrize("kind", ["web", "worker", "beat"])
def test_the_processes_of_run_can_be_probed(
    local_service: LocalService, kind: str
) -> None:
    """With the command that the docs show, and no settings."""
    probed = local_service.manage("probe", kind)

    assert (probed.returncode, probed.stdout) == (0, f"{kind} is at work.\n")


def test_the_worker_that_the_quickstart_kills_belongs_to_run_and_comes_back(
    local_service: LocalService,
) -> None:
    """Each command of the page that ends something, as it stands there."""
    page = (ROOT / "docs" / "tutorials" / "quickstart.md").read_text(encoding="utf-8")
    [command] = re.findall(r"^\$ (kill .*)$", page, re.MULTILINE)
    file = local_service.home / "var" / "worker.pid"
    before = file.read_text()

    subprocess.run(["/bin/sh", "-c", command], cwd=local_service.home, check=True)

    eventually(lambda: file.read_text() not in ("", before))
    eventually(lambda: local_service.manage("probe", "worker").returncode == 0)
    assert "stopped with signal 9" in local_service.output.read_text()


def test_no_page_kills_by_name() -> None:
    pages = [*ROOT.glob("*.md"), *ROOT.glob("docs/**/*.md")]

    assert not [
        page.name
        for page in pages
        if re.search(r"pgrep|pkill|killall", page.read_text(encoding="utf-8"))
    ]
