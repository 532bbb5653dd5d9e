"""The verifiers in docs/examples, each in its language, on requests that were sent."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
import time
from pathlib import Path
from typing import NamedTuple

import pytest
from django.db import transaction
from django.utils import timezone

from accounts import services as accounts
from accounts.models import User, mint_signing_secret
from tasks_api.domain import signing
from tasks_api.domain.schedules import Once
from tasks_api.models import Task
from tasks_api.worker.engine import Engine
from tests.integration.conftest import ResultLog
from tests.integration.support.stored_tasks import store_task
from tests.receiver import Receiver

pytestmark = pytest.mark.django_db(transaction=True)

RECEIVERS = Path(__file__).resolve().parents[3] / "docs" / "examples"
LANGUAGES = {
    "verify.py": [sys.executable],
    "verify.mjs": ["node"],
    "verify.go": ["go", "run"],
}


class SentRequest(NamedTuple):
    headers: dict[str, str]
    body: bytes


@pytest.fixture(params=sorted(LANGUAGES))
def verifier(request: pytest.FixtureRequest) -> list[str]:
    program, *options = LANGUAGES[request.param]
    found = shutil.which(program)
    if found is None:
        pytest.skip(f"There is no {program} on this machine to run {request.param}.")
    return [found, *options, str(RECEIVERS / request.param)]


@pytest.fixture
def sent(
    user: User, receiver: Receiver, engine: Engine, recorded: ResultLog
) -> SentRequest:
    """A request that a worker sent while the tenant's secret rotates."""
    accounts.rotate_signing_secret(user.tenant, now=timezone.now())  # type: ignore[arg-type]  # of a tenant
    with transaction.atomic():
        task = store_task(user, Once(timezone.now()), receiver.url + "/hook")
        Task.objects.filter(pk=task.pk).update(body='{"größe": 1.10}')
    engine.ring()
    recorded.wait_for(1)
    [request] = receiver.wait_for(1)
    return SentRequest(dict(request.headers), request.body)


def is_accepted(verifier: list[str], secret: str, sent: SentRequest) -> bool:
    command = [*verifier, secret, json.dumps(sent.headers)]
    done = subprocess.run(command, input=sent.body, capture_output=True, timeout=120)
    assert done.stderr in (b"", b"exit status 1\n"), done.stderr
    return done.returncode == 0


def test_a_receiver_believes_what_was_signed_and_nothing_else(
    user: User, sent: SentRequest, verifier: list[str]
) -> None:
    new, old = accounts.load_signing_secrets(user.tenant_id or 0, timezone.now())
    stale = str(int(time.time()) - 301)
    early = str(int(time.time()) + 400)
    signed = sent.headers["webhook-signature"]

    # Whichever of the two secrets a receiver has while they rotate.
    assert len(signed.split()) == 2
    assert is_accepted(verifier, new, sent)
    assert is_accepted(verifier, old, sent)

    assert not is_accepted(verifier, mint_signing_secret(), sent)
    assert not is_accepted(verifier, new, sent._replace(body=sent.body + b" "))
    for name, value in {
        "webhook-id": "another",
        "webhook-timestamp": stale,
        "webhook-signature": "",
    }.items():
        assert not is_accepted(
            verifier, new, sent._replace(headers={**sent.headers, name: value})
        )
    for garbage in ("v1", "v1,", "v2," + signed[3:], "v1,%%%"):
        headers = {**sent.headers, "webhook-signature": garbage}
        assert not is_accepted(verifier, new, sent._replace(headers=headers))
    for moment in (stale, early, "", "soon"):
        at = {**sent.headers, "webhook-timestamp": moment}
        if moment.isdigit():
            # Rightly signed, and not now.
            at["webhook-signature"] = signing.signature(
                [new], at["webhook-id"], int(moment), sent.body.decode()
            )
        assert not is_accepted(verifier, new, sent._replace(headers=at))
