"""Who is refused is told of and slowed down, and nobody else is locked out by that."""

from __future__ import annotations

import logging
import re
import threading
import time
from collections.abc import Callable
from datetime import timedelta
from functools import partial
from typing import Any

import pytest
from django.conf import LazySettings
from django.test import Client
from django.urls import reverse
from django.utils import timezone
from rest_framework.test import APIClient

from accounts import services, throttling
from accounts.access import login
from accounts.models import AuditEntry, User
from accounts.throttling import CredentialKind
from tasks_api.delivery import run_tokens
from tasks_api.domain.states import RunState
from tasks_api.models import Run, Task
from tasks_api.monitoring import collector
from tasks_api.worker import long_work
from tests.conftest import ClientFor, MakeTask
from tests.integration.support.threads import run_in_threads

pytestmark = pytest.mark.django_db(transaction=True)

SECRET = "a secret of more than 24 letters"
HERE, ELSEWHERE = "192.0.2.1", "198.51.100.7"


@pytest.fixture
def root(db: None) -> User:
    return User.objects.create_superuser("root", password="right")


def log_in(password: str, *, user: str = "root", address: str = HERE) -> bool:
    values = {"login": user, "password": password}
    answer = Client(REMOTE_ADDR=address).post(reverse("account_login"), values)
    return answer.status_code == 302


def lines(caplog: pytest.LogCaptureFixture) -> list[dict[str, Any]]:
    found = [vars(record) for record in caplog.records if "credential" in vars(record)]
    return [
        {
            name: line[name]
            for name in ("credential", "address", "account")
            if name in line
        }
        for line in found
    ]


def test_a_password_is_guessed_so_often_and_no_oftener(
    root: User, settings: LazySettings
) -> None:
    settings.SCHEDULER_MAX_FAILED_LOGINS = 3

    for _ in range(3):
        assert not log_in("wrong")

    assert not log_in("right")


def test_a_guesser_locks_out_no_other_address(root: User) -> None:
    for _ in range(20):
        log_in("wrong")

    assert log_in("right", address=ELSEWHERE)


def test_a_guess_from_everywhere_slows_an_account_down_and_locks_it_not(
    root: User,
) -> None:
    for number in range(throttling.MAX_FAILURES_PER_ACCOUNT):
        log_in("wrong", address=f"203.0.113.{number}")

    assert log_in("right", address=ELSEWHERE)
    assert not log_in("wrong", address="192.0.2.9")
    assert not log_in("right", address="192.0.2.9")


def test_one_address_tries_few_accounts(root: User, settings: LazySettings) -> None:
    settings.SCHEDULER_MAX_FAILED_LOGINS = 1
    for number in range(throttling.ADDRESS_FACTOR):
        log_in("wrong", user=f"user{number}")

    assert not log_in("right")


def test_who_is_logged_in_is_not_asked_again(root: User) -> None:
    client = Client(REMOTE_ADDR=HERE)
    client.force_login(root)
    for _ in range(50):
        log_in("wrong")

    assert client.get(reverse("admin:index")).status_code == 200


def test_a_throttled_login_gets_a_message_and_no_password_is_hashed(
    root: User, settings: LazySettings
) -> None:
    settings.SCHEDULER_MAX_FAILED_LOGINS = 1
    log_in("wrong")

    page = Client(REMOTE_ADDR=HERE).post(
        reverse("account_login"), {"login": "root", "password": "right"}
    )

    assert "Too many attempts. Try again in" in page.content.decode()
    assert AuditEntry.objects.filter(action="user.login_failed").count() == 1


def test_passwords_are_checked_one_at_a_time() -> None:
    inside, most = 0, 0
    lock = threading.Lock()

    def look() -> bool:
        nonlocal inside, most
        try:
            with throttling.limit_password_checks(HERE, "root"):
                with lock:
                    inside += 1
                    most = max(most, inside)
                threading.Event().wait(0.01)
                with lock:
                    inside -= 1
        except throttling.TooManyAttempts:
            return False
        return True

    assert any(run_in_threads(8, look))
    assert most == 1


def test_a_failed_login_stands_in_the_logs(
    root: User, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO)

    log_in("wrong")
    log_in("wrong", user="my password\nin the wrong field")

    assert lines(caplog) == [
        {"credential": "password", "address": HERE, "account": "'root'"},
        {"credential": "password", "address": HERE, "account": "'unknown'"},
    ]
    entries = AuditEntry.objects.filter(action="user.login_failed").order_by("id")
    assert [(e.actor, e.object_id, e.changes) for e in entries] == [
        ("somebody", "root", {"address": [None, HERE]}),
        ("somebody", "unknown", {"address": [None, HERE]}),
    ]
    assert "password in" not in caplog.text


def test_a_flood_of_failures_floods_no_log(
    root: User, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO)
    client = APIClient()
    client.credentials(HTTP_AUTHORIZATION="Bearer sch_wrong")
    for number in range(3 * throttling.MAX_LOGGED_PER_MINUTE):
        client.get("/tasks/")
        log_in("wrong", address=f"203.0.113.{number}")

    told = [line["credential"] for line in lines(caplog)]
    assert (told.count("token"), told.count("password")) == (
        throttling.MAX_LOGGED_PER_MINUTE,
        throttling.MAX_LOGGED_PER_MINUTE,
    )
    assert (
        AuditEntry.objects.filter(action="user.login_failed").count()
        == throttling.MAX_LOGGED_PER_MINUTE
    )


def long_work_of(task: Task) -> Run:
    """A run that its target is at work on."""
    now = timezone.now()
    return Run.objects.create(
        id=task.pk, task=task, tenant=task.tenant,
        scheduled_for=now, wake_at=now + timedelta(hours=1), state=RunState.OPEN,
    )  # fmt: skip


@pytest.mark.parametrize(
    ("path", "headers", "credential"),
    [
        ("/tasks/", {"HTTP_AUTHORIZATION": "Bearer sch_wrong"}, CredentialKind.TOKEN),
        (
            "/tasks/",
            {"HTTP_AUTHORIZATION": "Basic OnNjaF93cm9uZw=="},
            CredentialKind.TOKEN,
        ),
        ("/tasks/", {"HTTP_AUTHORIZATION": "Basic ?"}, CredentialKind.TOKEN),
        ("/tasks/", {"HTTP_AUTHORIZATION": "Digest x"}, CredentialKind.TOKEN),
        (
            "/api/v1/jobs/x",
            {"HTTP_AUTHORIZATION": "Bearer sch_wrong"},
            CredentialKind.TOKEN,
        ),
        (
            "/next?queue=a",
            {"HTTP_AUTHORIZATION": "Bearer sch_wrong"},
            CredentialKind.TOKEN,
        ),
        ("/metrics", {"HTTP_AUTHORIZATION": "Bearer wrong"}, CredentialKind.TOKEN),
        ("/insert", {"HTTP_SCHEDULER_SECRET": "wrong"}, CredentialKind.SECRET),
        *(
            (f"/runs/{{run}}/{word}", {name: value}, CredentialKind.RUN)
            for word in ("complete", "fail", "heartbeat")
            for name, value in (
                ("HTTP_AUTHORIZATION", "Bearer srt_1_wrong"),
                ("HTTP_X_SCHEDULER_RUN_TOKEN", "wrong"),
                ("HTTP_X_SCHEDULER_RUN_TOKEN", ""),
            )
        ),
    ],
)
def test_many_wrong_credentials_from_one_address_are_slowed_down(
    make_task: MakeTask,
    settings: LazySettings,
    caplog: pytest.LogCaptureFixture,
    path: str,
    headers: dict[str, str],
    credential: CredentialKind,
) -> None:
    caplog.set_level(logging.INFO)
    settings.SCHEDULER_MAX_FAILED_CALLS = 2
    settings.METRICS_TOKEN = "right"
    client = APIClient()
    client.credentials(**headers)
    call = (
        client.post
        if credential in {CredentialKind.SECRET, CredentialKind.RUN}
        else client.get
    )
    if credential == CredentialKind.RUN:
        path = path.format(run=long_work_of(make_task()).pk)

    answers = [call(path) for _ in range(3)]

    refused = 403 if credential == CredentialKind.RUN else 401
    assert [answer.status_code for answer in answers] == [refused, refused, 429]
    assert ("WWW-Authenticate" in answers[0]) is (refused == 401)
    assert 0 < int(answers[2]["Retry-After"]) <= throttling.WINDOW_SECONDS
    assert path == "/metrics" or "Too many attempts" in answers[2].content.decode()
    assert lines(caplog) == 3 * [
        {"credential": credential.value, "address": "127.0.0.1"}
    ]


def test_the_right_token_of_a_run_is_let_in_however_many_were_wrong(
    make_task: MakeTask, settings: LazySettings
) -> None:
    settings.SCHEDULER_MAX_FAILED_CALLS = 1
    run = long_work_of(make_task())
    say = partial(APIClient().post, f"/runs/{run.pk}/complete")
    for _ in range(3):
        wrong = say(HTTP_X_SCHEDULER_RUN_TOKEN="srt_1_wrong")
    right = run_tokens.make_token(long_work.run_token_keys()[0], run.pk, 0)

    assert wrong.status_code == 429
    assert say(HTTP_X_SCHEDULER_RUN_TOKEN=right).json()["state"] == "succeeded"


def test_a_right_token_is_let_in_however_many_were_wrong(
    user: User, client_for: ClientFor, settings: LazySettings
) -> None:
    settings.SCHEDULER_MAX_FAILED_CALLS = 1
    wrong = APIClient()
    wrong.credentials(HTTP_AUTHORIZATION="Bearer sch_wrong")
    for _ in range(5):
        wrong.get("/tasks/")

    assert client_for(user).get("/tasks/").status_code == 200


def timers(secret: str, address: str = HERE) -> int:
    client = APIClient(REMOTE_ADDR=address)
    client.credentials(HTTP_SCHEDULER_SECRET=secret)
    return int(client.post("/cron", {"jobs": []}, format="json").status_code)


def test_a_long_secret_is_let_in_and_a_short_one_is_not_guessed(
    db: None, settings: LazySettings
) -> None:
    settings.SCHEDULER_MAX_FAILED_CALLS = 2
    services.configure_tenant("Alpha", shared_secret=SECRET)
    services.configure_tenant("Beta", shared_secret="e")

    assert [timers("a"), timers("b"), timers("c")] == [401, 401, 429]

    assert timers("e") == 429
    assert timers(SECRET) == 200
    assert timers("e", ELSEWHERE) == 200


def test_a_call_without_a_credential_is_not_slowed_down(
    db: None, settings: LazySettings, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO)
    settings.SCHEDULER_MAX_FAILED_CALLS = 1

    statuses = [APIClient().get("/tasks/").status_code for _ in range(4)]

    assert statuses == [401] * 4
    assert lines(caplog)[0] == {"credential": "nothing", "address": "127.0.0.1"}


def eventually(what: Callable[[], bool]) -> None:
    deadline = time.monotonic() + 20
    while not what():
        assert time.monotonic() < deadline
        time.sleep(0.05)


def test_refusals_are_counted_for_all_processes_together(db: None) -> None:
    # What others have counted may still be on its way.
    before = throttling.load_refusal_counts()[CredentialKind.TOKEN]
    client = APIClient()
    client.credentials(HTTP_AUTHORIZATION="Bearer sch_wrong")

    for _ in range(4):
        client.get("/tasks/")

    eventually(
        lambda: throttling.load_refusal_counts()[CredentialKind.TOKEN] >= before + 4
    )
    text = collector.exposition().decode()
    [shown] = re.findall(r'scheduler_refused_total{credential="token"} (\S+)', text)
    assert float(shown) >= before + 4


def test_a_redis_that_is_away_lets_nobody_in_and_keeps_nobody_out(
    user: User, root: User, client_for: ClientFor, settings: LazySettings
) -> None:
    settings.REDIS_URL = "redis://127.0.0.1:1/0"
    settings.SCHEDULER_MAX_FAILED_LOGINS = 1
    settings.SCHEDULER_MAX_FAILED_CALLS = 1
    wrong = APIClient()
    wrong.credentials(HTTP_AUTHORIZATION="Bearer sch_wrong")

    assert [wrong.get("/tasks/").status_code for _ in range(2)] == [401, 429]
    assert client_for(user).get("/tasks/").status_code == 200
    assert not log_in("wrong")
    assert not log_in("right")
    assert log_in("right", address=ELSEWHERE)


@pytest.mark.parametrize(
    ("proxies", "forwarded", "address"),
    [
        (0, "1.2.3.4", "192.0.2.1"),
        (1, "6.6.6.6, 1.2.3.4", "1.2.3.4"),
        (2, "6.6.6.6, 1.2.3.4, 10.0.0.1", "1.2.3.4"),
        (2, "1.2.3.4", "192.0.2.1"),
        (1, "nonsense", "unknown"),
        (1, "", "192.0.2.1"),
        (1, "2001:db8:1:2:3:4:5:6", "2001:db8:1:2::/64"),
        (1, "::ffff:1.2.3.4", "1.2.3.4"),
    ],
)
def test_an_address_is_what_trusted_proxies_say(
    settings: LazySettings, proxies: int, forwarded: str, address: str
) -> None:
    settings.TRUSTED_PROXIES = proxies
    meta = {"REMOTE_ADDR": HERE, "HTTP_X_FORWARDED_FOR": forwarded}

    assert login.client_address(meta) == address


def test_what_is_held_against_addresses_takes_bounded_memory() -> None:
    windows = throttling.WindowCounter(60)
    for number in range(throttling.MAX_KEYS + 100):
        windows.add(number)

    assert len(windows) <= throttling.MAX_KEYS + 1


def test_a_short_secret_is_refused_where_the_service_is_in_earnest(
    db: None, settings: LazySettings
) -> None:
    settings.SCHEDULER_MIN_SECRET_LENGTH = 24

    with pytest.raises(services.AccountError, match="24 characters"):
        services.configure_tenant("Alpha", shared_secret="s3cret")
    services.configure_tenant("Alpha", shared_secret=SECRET)
    services.configure_tenant("Alpha", shared_secret="")
