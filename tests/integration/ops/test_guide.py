"""`/guide/` shows the site of the docs where it is built, and says how where it is not."""

from __future__ import annotations

import re
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest
from django.conf import LazySettings
from django.test import Client

PAGE = "<html><script>var a=1</script><script src='x.js'></script></html>"


@pytest.fixture
def site(tmp_path: Path, settings: LazySettings) -> Path:
    (tmp_path / "secret.html").write_text("secret")
    folder = tmp_path / "site"
    (folder / "how-to").mkdir(parents=True)
    (folder / "index.html").write_text("<html>The guide</html>")
    (folder / "how-to" / "docker.html").write_text(PAGE)
    (folder / "search.js").write_text("onmessage = null")
    settings.GUIDE_DIR = folder
    return folder


def read(client: Client, path: str) -> str:
    with closing(client.get(path)) as answer:
        return answer.getvalue().decode()


def ask(client: Client, path: str, **more: Any) -> Any:
    """A response with its file closed, so that only its headers are read."""
    with closing(client.get(path, **more)) as answer:
        return answer


def test_the_site_is_shown(client: Client, site: Path) -> None:
    assert "The guide" in read(client, "/guide/")
    assert "The guide" in read(client, "/guide/index.html")
    assert "var a=1" in read(client, "/guide/how-to/docker.html")
    script = ask(client, "/guide/search.js")
    assert "javascript" in script["Content-Type"]
    assert client.get("/guide")["Location"] == "/guide/"


def test_a_page_runs_the_scripts_that_it_was_built_with(
    client: Client, site: Path
) -> None:
    policy = ask(client, "/guide/how-to/docker.html")["Content-Security-Policy"]

    [scripts] = re.findall(r"script-src ([^;]*);", policy)
    # What `printf 'var a=1' | openssl dgst -sha256 -binary | base64` prints.
    assert scripts == "'self' 'sha256-WazVQOu5lmXfSreSrMJd1CsaQ4c00fUQpJfBYCuMSIw='"
    other = ask(client, "/guide/")["Content-Security-Policy"]
    assert "script-src 'self';" in other


@pytest.mark.parametrize(
    "path",
    [
        "../secret.html",
        "%2e%2e/secret.html",
        "..%2fsecret.html",
        "how-to/../../secret.html",
        "..\\secret.html",
        "/etc/passwd",
        "//etc/passwd",
        "how-to",
        "how-to/",
        "missing.html",
        "%00",
    ],
)
def test_nothing_else_is_shown(client: Client, site: Path, path: str) -> None:
    answer = client.get(f"/guide/{path}")

    assert answer.status_code == 404
    assert "secret" not in answer.content.decode()


def test_a_site_that_is_not_built_says_how(
    client: Client, settings: LazySettings, tmp_path: Path
) -> None:
    settings.GUIDE_DIR = tmp_path / "none"

    answer = client.get("/guide/")

    assert answer.status_code == 404
    assert answer["Content-Type"] == "text/plain"
    assert "make docs" in answer.content.decode()


def test_the_guide_is_only_read(client: Client, site: Path) -> None:
    assert client.post("/guide/").status_code == 405
    assert ask(client, "/guide/").status_code == 200


def test_a_page_that_has_not_changed_is_not_sent_again(
    client: Client, site: Path
) -> None:
    first = ask(client, "/guide/how-to/docker.html")
    since = {"if-modified-since": first["Last-Modified"]}
    again = ask(client, "/guide/how-to/docker.html", headers=since)

    assert again.status_code == 304
    policies = {each["Content-Security-Policy"] for each in (first, again)}
    assert len(policies) == 1
