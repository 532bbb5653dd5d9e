"""Workers send the messages of channels: requests and mails, with retries and history."""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator
from typing import Any

import pytest
from django.conf import LazySettings
from django.utils import timezone
from rest_framework.test import APIClient
from standardwebhooks import Webhook

from accounts import services as accounts
from accounts.models import Role, User
from tasks_api.delivery import mail
from tasks_api.delivery.request import ClaimedRun, HttpResult
from tasks_api.domain.notices import ChannelKind
from tasks_api.models import Attempt, Channel, Run, Task
from tasks_api.services import channels
from tasks_api.worker.engine import Engine
from tasks_api.worker.mailer import MAX_WAITING, Mailer
from tests.conftest import ClientFor
from tests.integration.conftest import ResultLog
from tests.integration.support.notices import (
    claim_runs,
    end,
    make_channel,
    make_periodic,
    make_rule,
    send_due,
)
from tests.mail_server import MailServer
from tests.receiver import Receiver

pytestmark = pytest.mark.django_db(transaction=True)


@pytest.fixture
def mail_server(settings: LazySettings) -> Iterator[MailServer]:
    started = MailServer()
    started.start()
    settings.EMAIL_BACKEND = "django.core.mail.backends.smtp.EmailBackend"
    settings.EMAIL_HOST, settings.EMAIL_PORT = "127.0.0.1", started.port
    settings.DEFAULT_FROM_EMAIL = "Scheduler <scheduler@example.com>"
    yield started
    started.stop()


@pytest.fixture
def mail_channel(user: User) -> Channel:
    return make_channel(
        user,
        ChannelKind.EMAIL,
        settings={"recipients": ("a@example.com", "b@example.com")},
    )


def deliver(engine: Engine) -> None:
    """Let a beat send what is due, and a worker deliver it."""
    send_due()
    engine.ring()


def fail_task(user: User, channel: Channel, **more: Any) -> Task:
    make_rule(user, channel, "run.failed", **more)
    task = make_periodic(user, "report")
    end(task, True)
    return task


def test_a_web_hook_gets_a_signed_event(
    user: User, engine: Engine, recorded: ResultLog, receiver: Receiver
) -> None:
    assert user.tenant_id is not None
    [secret] = accounts.load_signing_secrets(user.tenant_id, timezone.now())
    channel = make_channel(user, settings={"url": f"{receiver.url}/told"})
    task = fail_task(user, channel)

    deliver(engine)

    [told] = receiver.wait_for(1)
    event = Webhook(secret).verify(told.body, dict(told.headers))
    [run] = Run.objects.filter(task=task)
    assert event["type"] == "run.failed"
    assert event["data"] == {
        "task_id": str(task.pk),
        "task_name": "report",
        "run_id": str(run.pk),
        "reason": "HTTP 500",
    }
    recorded.wait_for(1)
    [message] = Run.objects.exclude(task=task)
    assert (message.state, str(message.pk)) == ("succeeded", told.headers["webhook-id"])


@pytest.mark.parametrize(
    "kind", [ChannelKind.SLACK, ChannelKind.DISCORD, ChannelKind.TEAMS]
)
def test_a_chat_gets_its_format_at_its_url(
    user: User,
    engine: Engine,
    receiver: Receiver,
    kind: ChannelKind,
) -> None:
    fail_task(
        user, make_channel(user, kind, settings={"url": f"{receiver.url}/s3cret"})
    )

    deliver(engine)

    [told] = receiver.wait_for(1)
    assert (told.method, told.path) == ("POST", "/s3cret")
    assert told.headers["content-type"] == "application/json"
    assert "report failed: HTTP 500" in json.dumps(json.loads(told.body))
    # Such a service has no use for what proves us to a receiver of the tenant.
    assert "webhook-signature" not in told.headers
    stored = Task.objects.get(surface="notices")
    assert "s3cret" not in f"{stored.url}{stored.body}{stored.request}"


def test_pagerduty_and_ntfy_get_their_credentials(
    user: User, engine: Engine, receiver: Receiver
) -> None:
    key, url = "k" * 32, receiver.url
    of_pagerduty = {"routing_key": key, "url": f"{url}/v2/enqueue"}
    of_ntfy = {"topic": "ops", "token": "tk_x", "url": f"{url}/"}
    task = fail_task(
        user, make_channel(user, ChannelKind.PAGERDUTY, settings=of_pagerduty)
    )
    make_rule(
        user, make_channel(user, ChannelKind.NTFY, settings=of_ntfy), "run.failed"
    )
    end(task, True)

    deliver(engine)

    told = {request.path: request for request in receiver.wait_for(2)}
    alert = json.loads(told["/v2/enqueue"].body)
    assert (alert["routing_key"], alert["dedup_key"]) == (key, str(task.pk))
    assert told["/"].headers["authorization"] == "Bearer tk_x"
    assert json.loads(told["/"].body)["topic"] == "ops"


def test_a_message_is_tried_again_at_where_the_channel_sends_now(
    user: User, engine: Engine, recorded: ResultLog, receiver: Receiver
) -> None:
    receiver.answer("/old", status=500)
    channel = make_channel(user, settings={"url": f"{receiver.url}/old"})
    task = fail_task(user, channel)
    deliver(engine)
    recorded.wait_for(1)
    [run] = Run.objects.exclude(task=task)
    assert (run.state, run.reason) == ("retrying", "HTTP 500")

    new = {"url": f"{receiver.url}/new"}
    channels.change_channel(user, channel.pk, settings=new, fields={})
    Run.objects.filter(pk=run.pk).update(state="pending", wake_at=timezone.now())
    engine.ring()

    first, second = receiver.wait_for(2)
    assert (first.path, second.path) == ("/old", "/new")
    assert first.headers["webhook-id"] == second.headers["webhook-id"]
    recorded.wait_for(2)
    run.refresh_from_db()
    assert (run.state, run.attempt_count) == ("succeeded", 2)


def test_a_message_goes_only_where_targets_may_be(
    user: User,
    recorded: ResultLog,
    receiver: Receiver,
    settings: LazySettings,
    request: pytest.FixtureRequest,
) -> None:
    settings.SCHEDULER_DENIED_NETWORKS = "127.0.0.0/8"
    fail_task(user, make_channel(user, settings={"url": f"{receiver.url}/told"}))

    deliver(request.getfixturevalue("engine"))

    [result] = recorded.wait_for(1)
    assert (result.result.status_code, receiver.requests) == (None, [])
    assert Run.objects.get(task__surface="notices").state == "retrying"


def test_a_channel_that_cannot_be_read_fails_its_messages_alone(
    user: User, engine: Engine, recorded: ResultLog, receiver: Receiver
) -> None:
    sealed = make_channel(user, settings={"url": f"{receiver.url}/a"})
    gone = make_channel(user, settings={"url": f"{receiver.url}/b"})
    good = make_channel(user, settings={"url": f"{receiver.url}/c"})
    for channel in (sealed, gone, good):
        make_rule(user, channel, "run.failed")
    end(make_periodic(user), True)
    send_due()
    Channel.objects.filter(pk=sealed.pk).update(
        sealed_settings="gAAAAA no key opens this"
    )
    unsent = Task.objects.filter(url=f"channel://{gone.pk}")
    unsent.update(url="channel://01a1fc25-ccbb-7241-824c-01539cec9869")

    deliver(engine)

    results = {item.result.error for item in recorded.wait_for(3)}
    assert results == {
        "could not be built: SECRET_KEY does not open the channel",
        "could not be built: the channel was removed",
        "",
    }
    assert [request.path for request in receiver.requests] == ["/c"]


def test_no_message_is_sent_through_the_channel_of_another_tenant(
    user: User, stranger: User, engine: Engine, recorded: ResultLog, receiver: Receiver
) -> None:
    theirs = make_channel(stranger, settings={"url": f"{receiver.url}/theirs"})
    fail_task(user, make_channel(user, settings={"url": f"{receiver.url}/ours"}))
    send_due()
    Task.objects.filter(surface="notices").update(url=f"channel://{theirs.pk}")

    deliver(engine)

    [result] = recorded.wait_for(1)
    assert result.result.error == "could not be built: the channel was removed"
    assert receiver.requests == []


def test_a_test_message_is_sent_and_its_run_is_found(
    user: User,
    client_for: ClientFor,
    engine: Engine,
    recorded: ResultLog,
    receiver: Receiver,
) -> None:
    admin: APIClient = client_for(accounts.change_user(user, role=Role.ADMIN))
    channel = make_channel(
        user, settings={"url": f"{receiver.url}/told"}, max_per_hour=1
    )

    answer = admin.post(f"/channels/{channel.pk}/test/")

    assert answer.status_code == 202
    deliver(engine)
    [told] = receiver.wait_for(1)
    assert json.loads(told.body)["type"] == "test"
    recorded.wait_for(1)
    task_id = answer.json()["task_id"]
    [run] = admin.get(f"/runs/?task={task_id}").json()["runs"]
    assert (run["state"], run["notice"]) == ("succeeded", True)
    assert admin.post(f"/channels/{channel.pk}/test/").status_code == 409


# Mail.


def test_a_mail_is_sent_with_the_id_of_its_run(
    user: User,
    engine: Engine,
    recorded: ResultLog,
    mail_server: MailServer,
    mail_channel: Channel,
) -> None:
    fail_task(user, mail_channel)

    deliver(engine)

    [(to, sent)] = mail_server.wait_for(1)
    assert to == ["a@example.com", "b@example.com"]
    assert sent["From"] == "Scheduler <scheduler@example.com>"
    assert sent["Subject"] == "report failed: HTTP 500"
    assert sent["Auto-Submitted"] == "auto-generated"
    assert "report failed: HTTP 500" in str(sent.get_payload())
    recorded.wait_for(1)
    [attempt] = Attempt.objects.filter(run__task__surface="notices")
    assert sent["Message-ID"] == f"<{attempt.run_id}@example.com>"
    assert (attempt.run.state, attempt.status_code) == ("succeeded", 250)


def test_a_mail_that_is_refused_for_now_is_tried_again(
    user: User,
    engine: Engine,
    recorded: ResultLog,
    mail_server: MailServer,
    mail_channel: Channel,
) -> None:
    mail_server.refusal = "451 Try again later"
    fail_task(user, mail_channel)
    deliver(engine)
    recorded.wait_for(1)
    [run] = Run.objects.filter(task__surface="notices")
    assert run.state == "retrying"
    assert run.reason == "the mail server said 451 Try again later"

    mail_server.refusal = ""
    Run.objects.filter(pk=run.pk).update(state="pending", wake_at=timezone.now())
    engine.ring()

    (_, first), (_, second) = mail_server.wait_for(2)
    assert first["Message-ID"] == second["Message-ID"]
    recorded.wait_for(2)
    run.refresh_from_db()
    assert run.state == "succeeded"


def test_a_mail_server_that_is_away_is_an_error_of_the_attempt(
    user: User,
    engine: Engine,
    recorded: ResultLog,
    mail_server: MailServer,
    mail_channel: Channel,
    settings: LazySettings,
) -> None:
    settings.EMAIL_PORT = 1
    fail_task(user, mail_channel)

    deliver(engine)

    [result] = recorded.wait_for(1)
    assert result.result.error.startswith("the mail could not be sent: ")
    assert Run.objects.get(task__surface="notices").state == "retrying"


def test_a_subject_brings_no_headers_along(
    user: User,
    engine: Engine,
    mail_server: MailServer,
    mail_channel: Channel,
) -> None:
    make_rule(user, mail_channel, "run.failed")
    end(make_periodic(user, "a\r\nBcc: c@example.com\r\n\r\nx"), True)

    deliver(engine)

    [(to, sent)] = mail_server.wait_for(1)
    assert "c@example.com" not in to
    assert sent["Bcc"] is None


def test_mails_beyond_what_may_wait_go_back(user: User) -> None:
    [run] = claim_runs(make_periodic(user))
    results: list[HttpResult] = []
    full = threading.Event()
    message = mail.Mail("x", "subject", "text", ("a@example.com",))

    def may_start(run: ClaimedRun) -> bool:
        full.wait(20)
        return False

    def report(run: ClaimedRun, result: HttpResult) -> None:
        results.append(result)

    mailer = Mailer(may_start=may_start, report=report)
    while not results:
        mailer.send(run, message)
    full.set()

    [first, *_] = results
    assert (first.was_sent, str(first.trouble)) == (False, "too many wait before it")
    assert len(results) <= MAX_WAITING + 10


def test_redriving_a_message_sends_it_again(
    user: User,
    client_for: ClientFor,
    engine: Engine,
    recorded: ResultLog,
    receiver: Receiver,
) -> None:
    receiver.answer("/told", status=410)
    fail_task(user, make_channel(user, settings={"url": f"{receiver.url}/told"}))
    deliver(engine)
    recorded.wait_for(1)
    receiver.answer("/told", status=200)
    [failed] = Run.objects.filter(task__surface="notices")

    answer = client_for(user).post(f"/runs/{failed.pk}/redrive/")

    assert answer.status_code == 202, answer.content
    engine.ring()
    assert len(receiver.wait_for(2)) == 2
