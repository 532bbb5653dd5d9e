"""Makefile, Procfile, Dockerfile and docker-compose.yml start the same service."""

from __future__ import annotations

import os
import re
import shlex
import subprocess
import tomllib
from functools import cache
from pathlib import Path
from typing import Any

import pytest
import yaml

from scheduler_service import __version__, settings
from scheduler_service.process.supervisor import read_procfile
from tests.architecture.folders import PACKAGES

ROOT = Path(__file__).resolve().parents[2]
PROCFILE = read_procfile(ROOT / "Procfile")
# Compose has its own PostgreSQL and Redis, and nothing to echo.
COMPOSED = PROCFILE.keys() - {"services", "echo"}
# Read by the images of PostgreSQL and Redis, and by Python itself.
NOT_OURS = {"POSTGRES_USER", "POSTGRES_DB", "POSTGRES_PASSWORD"} | {
    "REDIS_PASSWORD",
    "REDISCLI_AUTH",
    "PATH",
    "PYTHONDONTWRITEBYTECODE",
    "PYTHONUNBUFFERED",
}


def text(name: str) -> str:
    return (ROOT / name).read_text(encoding="utf-8")


@cache
def compose() -> dict[str, Any]:
    services: dict[str, Any] = yaml.safe_load(text("docker-compose.yml"))["services"]
    return services


def program_and_role(command: str) -> list[str]:
    """A command without the options that differ from place to place."""
    words = shlex.split(command)
    return words[: words.index("-n")] if "-n" in words else words


def documented_targets() -> set[str]:
    return set(re.findall(r"^([a-z-]+):.*## ", text("Makefile"), re.MULTILINE))


def variables_known_to_the_code() -> set[str]:
    sources = [*ROOT.glob("scheduler_service/**/*.py")]
    found = (re.findall(r'"([A-Z][A-Z_]+)"', path.read_text()) for path in sources)
    return {name for names in found for name in names}


def test_make_lists_its_commands() -> None:
    listed = subprocess.run(
        ["make", "--no-print-directory"], cwd=ROOT, capture_output=True, text=True
    )

    names = {line.split()[0] for line in listed.stdout.splitlines()}
    assert names == documented_targets()


def test_a_recipe_has_three_lines_at_most() -> None:
    recipes = re.findall(r"(?:^\t.*\n)+", text("Makefile"), re.MULTILINE)

    assert max(recipe.count("\n") for recipe in recipes) <= 3


def test_running_installs_less_than_testing() -> None:
    needs = dict(re.findall(r"^([a-z$()A-Z-]+): (\S+)", text("Makefile"), re.MULTILINE))

    assert {needs.pop("run"), needs.pop("$(PARTS)")} == {"setup-run"}
    assert {needs[name] for name in ("test", "lint", "fix", "bench", "chaos")} == {
        "setup"
    }


def test_every_part_is_a_make_target() -> None:
    assert PROCFILE.keys() | {"setup", "run", "test", "lint"} <= documented_targets()


@pytest.mark.parametrize("name", sorted(COMPOSED))
def test_compose_starts_a_part_as_the_procfile_does(name: str) -> None:
    command = compose()[name]["command"]

    assert program_and_role(command) == program_and_role(PROCFILE[name])


def test_the_image_starts_the_web_part() -> None:
    command = re.findall(r"^CMD \[(.*)\]$", text("Dockerfile"), re.MULTILINE)[-1]

    assert re.findall(r'"([^"]+)"', command) == shlex.split(PROCFILE["web"])


@pytest.mark.parametrize("name", sorted(PROCFILE))
def test_what_a_command_names_is_there(name: str) -> None:
    words = shlex.split(PROCFILE[name])

    for word in words:
        if "/" in word or word.endswith(".py"):
            assert (ROOT / word).is_file()
    if "manage.py" in words:
        command = words[words.index("manage.py") + 1]
        commands = ROOT / "scheduler_service" / "management" / "commands"
        assert (commands / f"{command}.py").is_file()


def test_every_variable_is_known_to_the_settings() -> None:
    in_compose = {
        name for part in compose().values() for name in part.get("environment", {})
    }
    in_image = set(
        re.findall(r"^ +(?:ENV )?([A-Z_]+)=", text("Dockerfile"), re.MULTILINE)
    )

    assert in_compose | in_image <= variables_known_to_the_code() | NOT_OURS


def test_only_the_api_is_published_to_the_world() -> None:
    published = {
        name: port
        for name, part in compose().items()
        for port in part.get("ports", [])
        if not port.startswith("127.0.0.1:")
    }

    assert published.keys() == {"front"}


def test_the_front_reads_bodies_before_web_sees_them_and_takes_as_much_as_web() -> None:
    said = dict(
        re.findall(r"^ *(\w+) (.+);$", text("deploy/proxies/nginx.conf"), re.MULTILINE)
    )

    assert said["proxy_request_buffering"] == "on"
    assert said.keys() >= {"client_body_timeout", "client_header_timeout", "limit_conn"}
    # So that what is too large is told by web, in the words of the surface.
    most = int(said["client_max_body_size"].removesuffix("m")) * 1024 * 1024
    assert most > settings.SCHEDULER_MAX_BULK_BYTES
    assert compose()["front"]["ports"] == [f"${{PORT:-8000}}:{said['listen']}"]
    assert (
        "./deploy/proxies/nginx.conf:/etc/nginx/front.conf:ro"
        in compose()["front"]["volumes"]
    )


@pytest.mark.parametrize(
    ("name", "limit"),
    [
        ("nginx-tls.conf", r"client_max_body_size (\d+)m;"),
        ("Caddyfile", r"max_size (\d+)MiB"),
    ],
)
def test_a_tls_proxy_takes_as_much_as_web(name: str, limit: str) -> None:
    [megabytes] = re.findall(limit, text(f"deploy/proxies/{name}"))

    assert int(megabytes) * 1024 * 1024 > settings.SCHEDULER_MAX_BULK_BYTES


@pytest.mark.parametrize("name", sorted({*COMPOSED, "front"}))
def test_a_composed_part_takes_only_so_much_memory(name: str) -> None:
    assert re.fullmatch(r"\d+[mg]", compose()[name]["mem_limit"])


def test_secrets_have_no_default() -> None:
    given = set(re.findall(r"\$\{(\w+):\?", text("docker-compose.yml")))

    assert given == {
        "SECRET_KEY",
        "POSTGRES_PASSWORD",
        "REDIS_PASSWORD",
        "FLOWER_BASIC_AUTH",
        "ALLOWED_HOSTS",
    }


@pytest.mark.parametrize("name", sorted({*COMPOSED, "postgres", "redis", "front"}))
def test_a_composed_part_comes_back_and_may_finish(name: str) -> None:
    part = compose()[name]

    assert part["restart"] == "unless-stopped"
    assert int(part["stop_grace_period"].removesuffix("s")) >= 45


@pytest.mark.parametrize("name", sorted(COMPOSED))
def test_a_composed_part_waits_for_what_it_needs(name: str) -> None:
    conditions = {
        other: needs["condition"]
        for other, needs in compose()[name]["depends_on"].items()
    }

    assert conditions == {
        "migrate": "service_completed_successfully",
        "postgres": "service_healthy",
        "redis": "service_healthy",
    }


def test_several_workers_and_beats_run() -> None:
    assert {
        name: compose()[name]["deploy"]["replicas"] for name in ("worker", "beat")
    } == {
        "worker": 2,
        "beat": 2,
    }


def test_every_redis_keeps_what_it_was_given() -> None:
    command = compose()["redis"]["command"][-1]

    assert "--maxmemory-policy noeviction" in command
    assert "--appendonly yes" in command


def test_every_place_names_the_same_python() -> None:
    project = tomllib.loads(text("pyproject.toml"))
    oldest = project["project"]["requires-python"].removeprefix(">=")
    images = re.findall(r"^FROM python:([\d.]+)-", text("Dockerfile"), re.MULTILINE)

    assert set(images) == {oldest}
    assert f"({', '.join(oldest.split('.'))})" in text("scripts/setup")
    assert project["tool"]["ruff"]["target-version"] == f"py{oldest.replace('.', '')}"


def test_the_version_is_stated_in_one_place() -> None:
    project = tomllib.loads(text("pyproject.toml"))

    assert re.fullmatch(r"\d+\.\d+\.\d+", __version__)
    assert project["project"]["dynamic"] == ["version"]
    assert project["tool"]["setuptools"]["dynamic"]["version"] == {
        "attr": "scheduler_service.__version__"
    }
    assert settings.SPECTACULAR_SETTINGS["VERSION"] == __version__


def test_every_place_names_the_same_postgresql() -> None:
    image = compose()["postgres"]["image"].removeprefix("postgres:")

    assert f'"pginstall{image}"' in text("scheduler_service/local/postgres.py")


def test_the_image_does_not_run_as_root() -> None:
    users = re.findall(r"^USER (\w+)$", text("Dockerfile"), re.MULTILINE)

    assert users == ["scheduler"]


def test_the_image_holds_the_service_and_nothing_else() -> None:
    allowed = set(re.findall(r"^!(\S+)$", text(".dockerignore"), re.MULTILINE))
    *_, last_stage = text("Dockerfile").split("\nFROM ")
    copied = {
        source
        for options, source in re.findall(
            r"^COPY (--from=\S+ )?(\S+)", last_stage, re.M
        )
        if not options
    }

    assert copied == {
        "accounts/", "console/", "scheduler_service/", "tasks_api/", "manage.py"
    }  # fmt: skip
    assert {f"{name}/" for name in PACKAGES} <= copied
    locks = {"requirements.lock", "requirements-docs.lock"}
    assert allowed == copied | locks | {"docs/", "mkdocs.yml"}
    assert all((ROOT / name).exists() for name in allowed)


def test_the_image_has_the_site_where_web_looks_for_it() -> None:
    copied = re.findall(r"^COPY --from=guide (\S+) (\S+)$", text("Dockerfile"), re.M)

    assert copied == [("/guide/var/site/", "var/site/")]
    assert settings.GUIDE_DIR == ROOT / "var/site"
    assert "site_dir: var/site\n" in text("mkdocs.yml")


def test_continuous_integration_calls_the_make_targets() -> None:
    script = ROOT / ".ci" / "run"

    assert os.access(script, os.X_OK)
    assert "set -euo pipefail" in script.read_text()
    assert set(re.findall(r"^make (\w+)$", script.read_text(), re.MULTILINE)) == {
        "lint",
        "test",
    }


@cache
def workflow() -> dict[str, Any]:
    loaded: dict[str, Any] = yaml.safe_load(text(".github/workflows/ci.yml"))
    return loaded


def test_the_workflow_runs_what_continuous_integration_runs() -> None:
    commands = [step.get("run") for step in workflow()["jobs"]["check"]["steps"]]

    assert ".ci/run" in commands
    assert not [command for command in commands if command and "pytest" in command]
    assert workflow()["permissions"] == {"contents": "read"}


def test_the_workflow_holds_the_coverage_of_branches() -> None:
    coverage = tomllib.loads(text("pyproject.toml"))["tool"]["coverage"]
    [run] = [
        step
        for step in workflow()["jobs"]["check"]["steps"]
        if step.get("run") == ".ci/run"
    ]

    assert run["env"]["cov"] == "1"
    assert "$(if $(cov),--cov)" in text("Makefile")
    assert coverage["run"]["branch"]
    assert coverage["report"]["fail_under"]


def test_the_workflow_runs_every_python_that_the_readme_names() -> None:
    [named] = re.findall(r"You need Python ([\d.]+) or ([\d.]+)", text("README.md"))

    assert workflow()["jobs"]["check"]["strategy"]["matrix"]["python"] == [*named]


def test_every_action_is_pinned_by_its_commit() -> None:
    uses = re.findall(r"uses: (.+)", text(".github/workflows/ci.yml"))

    assert uses
    for action in uses:
        assert re.fullmatch(r"[\w/-]+@[0-9a-f]{40} # v\d+\.\d+\.\d+", action)


def test_every_owned_path_is_there() -> None:
    paths = re.findall(r"^/(\S+)", text(".github/CODEOWNERS"), re.MULTILINE)

    assert paths
    assert all([*ROOT.glob(path)] for path in paths)


def test_a_commit_is_checked_without_a_network() -> None:
    repos = yaml.safe_load(text(".pre-commit-config.yaml"))["repos"]

    assert {repo["repo"] for repo in repos} == {"local"}
    assert {hook["entry"].split()[0] for repo in repos for hook in repo["hooks"]} == {
        ".venv/bin/ruff",
        "git",
    }
