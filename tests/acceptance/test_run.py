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

from tests.acceptance.harness import ROOT, eventually, free_port

pytestmark = pytest.mark.timeout(240)


def other_ports() -> dict[str, str]:
    return {"PORT": str(free_port()), "FLOWER_PORT": str(free_port())}


class Trial:
    def __init__(self, home: Path) -> None:
        home.chmod(0o711)
        self.home = home
        self.said = home / "said"
        self.environment = {
            name: value
            for name, value in os.environ.items()
            if name not in {"DATABASE_URL", "REDIS_URL", "SECRET_KEY"}
        } | {"SCHEDULER_STATE_DIR": str(home / "var")}
        self.environment |= other_ports()

    def start(self) -> None:
        with self.said.open("wb") as out:
            self.process = subprocess.Popen(
                [sys.executable, "manage.py", "run"],
                cwd=ROOT,
                env=self.environment,
                stdout=out,
                stderr=out,
            )
        eventually(lambda: "The service is ready" in self.said.read_text(), timeout=120)

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
def trial(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Trial]:
    made = Trial(tmp_path_factory.mktemp("t"))
    made.start()
    yield made
    made.process.send_signal(signal.SIGTERM)
    made.process.wait(timeout=60)


def test_a_second_one_on_the_same_directory_is_refused_before_it_begins(
    trial: Trial,
) -> None:
    second = trial.manage("run", **other_ports())

    assert second.returncode == 1
    assert f"already runs on {trial.home}/var: stop it" in second.stderr
    assert second.stdout == ""


def test_one_beside_services_of_their_own_is_refused(
    tmp_path_factory: pytest.TempPathFactory,
) -> None:
    trial = Trial(tmp_path_factory.mktemp("t"))
    services = subprocess.Popen(
        [sys.executable, "manage.py", "services"],
        cwd=ROOT,
        env=trial.environment,
        stdout=subprocess.PIPE,
        text=True,
    )
    assert services.stdout is not None
    try:
        eventually(lambda: "services are ready" in services.stdout.readline())

        refused = trial.manage("run", **other_ports())
    finally:
        services.send_signal(signal.SIGTERM)
        services.communicate(timeout=60)

    assert refused.returncode == 1
    assert "PostgreSQL already runs on" in refused.stderr
    assert "The service is ready" not in refused.stdout


@pytest.mark.parametrize("kind", ["web", "worker", "beat"])
def test_its_processes_can_be_probed(trial: Trial, kind: str) -> None:
    """As a page of the docs says it, without another word."""
    probed = trial.manage("probe", kind)

    assert (probed.returncode, probed.stdout) == (0, f"{kind} is at work.\n")


def test_the_worker_that_the_quickstart_kills_is_its_own_and_comes_back(
    trial: Trial,
) -> None:
    """Each command of the page that ends something, as it stands there."""
    page = (ROOT / "docs" / "quickstart.md").read_text(encoding="utf-8")
    [command] = re.findall(r"^\$ (kill .*)$", page, re.MULTILINE)
    file = trial.home / "var" / "worker.pid"
    before = file.read_text()

    subprocess.run(["/bin/sh", "-c", command], cwd=trial.home, check=True)

    eventually(lambda: file.read_text() not in ("", before))
    eventually(lambda: trial.manage("probe", "worker").returncode == 0)
    assert "stopped with signal 9" in trial.said.read_text()


def test_no_page_kills_by_name() -> None:
    pages = [*ROOT.glob("*.md"), *ROOT.glob("docs/**/*.md")]

    assert not [
        page.name
        for page in pages
        if re.search(r"pgrep|pkill|killall", page.read_text(encoding="utf-8"))
    ]
