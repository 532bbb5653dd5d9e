"""The nginx of deploy/proxies in front of a real web process."""

from __future__ import annotations

import os
import shlex
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import pytest
import requests

from tests.acceptance.harness import ROOT, Harness, eventually, free_port

NGINX = shutil.which("nginx", path=f"{os.environ['PATH']}:/usr/sbin")
OPENSSL = shutil.which("openssl")
NAME = "scheduler.example.org"

pytestmark = pytest.mark.skipif(
    not (NGINX and OPENSSL), reason="nginx or openssl is not installed."
)


class Proxy(NamedTuple):
    """Its two addresses, those of web behind it, and what its certificate is signed with."""

    http: str
    https: str
    web: str
    authority: str


@pytest.fixture(scope="module")
def certificate(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("tls")
    subprocess.run(
        shlex.split(
            f"{OPENSSL} req -x509 -newkey rsa:2048 -nodes -days 2 -subj /CN={NAME} "
            "-addext subjectAltName=IP:127.0.0.1 -keyout privkey.pem -out fullchain.pem"
        ),
        cwd=folder,
        check=True,
        capture_output=True,
    )
    return folder


@pytest.fixture(scope="module")
def proxy(harness: Harness, certificate: Path) -> Iterator[Proxy]:
    plain, tls, behind = free_port(), free_port(), free_port()
    harness.start_part(
        "web",
        PORT=str(behind),
        BEHIND_TLS_PROXY="1",
        SECURE_SSL_REDIRECT="1",
        TRUSTED_PROXIES="1",
    )
    text = (ROOT / "deploy" / "proxies" / "nginx-tls.conf").read_text(encoding="utf-8")
    for written, here in {
        "/etc/ssl/scheduler": str(certificate),
        "/run/nginx.pid": str(certificate / "nginx.pid"),
        "listen 80;": f"listen 127.0.0.1:{plain};",
        "listen 443 ssl;": f"listen 127.0.0.1:{tls} ssl;",
        "127.0.0.1:8000": f"127.0.0.1:{behind}",
    }.items():
        assert written in text
        text = text.replace(written, here)
    file = certificate / "nginx.conf"
    file.write_text(text)
    command = [str(NGINX), "-e", "stderr", "-c", str(file)]
    subprocess.run([*command, "-t"], check=True, capture_output=True, timeout=30)
    with (certificate / "nginx.log").open("wb") as log:
        server = subprocess.Popen([*command, "-g", "daemon off;"], stderr=log)
    found = Proxy(
        f"http://127.0.0.1:{plain}",
        f"https://127.0.0.1:{tls}",
        f"http://127.0.0.1:{behind}",
        str(certificate / "fullchain.pem"),
    )
    eventually(lambda: answers(found))
    yield found
    server.terminate()
    server.wait(timeout=30)


def answers(proxy: Proxy) -> bool:
    try:
        answer = requests.get(
            f"{proxy.https}/healthz", verify=proxy.authority, timeout=5
        )
    except requests.ConnectionError:
        return False
    return answer.status_code == 200


def test_a_caller_reaches_the_api_by_https_alone(
    harness: Harness, proxy: Proxy
) -> None:
    token = {"Authorization": str(harness.api.headers["Authorization"])}

    tls = requests.get(
        f"{proxy.https}/tasks/", headers=token, verify=proxy.authority, timeout=20
    )
    plain = requests.get(f"{proxy.http}/tasks/", allow_redirects=False, timeout=20)
    around = requests.get(f"{proxy.web}/tasks/", allow_redirects=False, timeout=20)

    assert (tls.status_code, tls.json().keys()) == (200, {"count", "tasks"})
    assert (plain.status_code, plain.headers["Location"]) == (
        301,
        "https://127.0.0.1/tasks/",
    )
    assert around.status_code == 301


def test_a_caller_cannot_claim_to_have_come_by_https(proxy: Proxy) -> None:
    claim = {"X-Forwarded-Proto": "http"}

    answer = requests.get(
        f"{proxy.https}/tasks/",
        headers=claim,
        verify=proxy.authority,
        allow_redirects=False,
        timeout=20,
    )

    # Without a token, and not sent elsewhere: the proxy says what the scheme is.
    assert answer.status_code == 401


def test_a_body_is_passed_on_whole(harness: Harness, proxy: Proxy) -> None:
    token = {"Authorization": str(harness.api.headers["Authorization"])}
    task = {
        "task_type": "periodic",
        "frequency": 3600,
        "end_datetime": None,
        "url": "https://example.com/",
        "post_data": {"text": "x" * 900_000},
    }

    answer = requests.post(
        f"{proxy.https}/tasks/",
        json=task,
        headers=token,
        verify=proxy.authority,
        timeout=20,
    )
    url = f"{proxy.https}/tasks/id/{answer.json()['id']}"
    read = requests.get(url, headers=token, verify=proxy.authority, timeout=20)

    assert answer.status_code == 201
    assert read.json()["post_data"] == task["post_data"]
