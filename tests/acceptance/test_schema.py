"""Schemathesis calls everything the OpenAPI document describes, on a running service."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from tests.acceptance.harness import Harness

CONFIG = Path(__file__).with_name("schemathesis.toml")


# Some minutes on two cores that have other work.
@pytest.mark.timeout(1200)
def test_the_running_service_is_what_its_schema_says(
    harness: Harness, tmp_path: Path
) -> None:
    harness.manage("add_user", "root", "--tenant", "Alpha", "--role", "admin")
    token = harness.manage("issue_token", "--tenant", "Alpha", "--user", "root")

    done = subprocess.run(
        [
            Path(sys.executable).with_name("schemathesis"),
            f"--config-file={CONFIG}",
            "run",
            f"{harness.url}/openapi.json",
            f"--header=Authorization: Bearer {token}",
            "--no-color",
        ],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        timeout=1180,
    )

    assert done.returncode == 0, done.stdout
    assert "Internal Server Error" not in harness.read_logs()
