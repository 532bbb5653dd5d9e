"""Who may speak for the target of a run that is open, and what may be said."""

from __future__ import annotations

from uuid import UUID

import pytest
from django.conf import LazySettings
from rest_framework.test import APIClient

from accounts.models import User
from tasks_api.delivery import run_tokens
from tasks_api.models import Run, Task
from tasks_api.worker import long_work
from tests.conftest import ClientFor
from tests.integration.support.long_work import (
    begin_run,
    call_back,
    latest_run_of,
    make_long_work,
)
from tests.integration.support.stored_tasks import take_due

pytestmark = pytest.mark.django_db(transaction=True)


NO_RUN = UUID("01a1fc25-dfd8-77b7-8ffb-7e7198bf1a71")


@pytest.mark.parametrize(
    "token",
    ["srt_1_AAAA", "srt_1", "srt__", "srt_²_x", "srt_" + "9" * 5000 + "_x", "srt_1_é"],
)
def test_a_wrong_token_is_refused(user: User, token: str) -> None:
    task = make_long_work(user)
    begin_run(task)
    run = latest_run_of(task)

    answers = [
        call_back(run, word, token) for word in ("complete", "fail", "heartbeat")
    ]

    assert {answer.status_code for answer in answers} == {403}
    run.refresh_from_db()
    assert run.state == "open"


def test_an_empty_token_counts_as_a_wrong_one_beside_any_other(
    user: User, client_for: ClientFor
) -> None:
    begin_run(make_long_work(user))

    answer = client_for(user).post(
        f"/runs/{Run.objects.get().pk}/complete", headers={"X-Scheduler-Run-Token": ""}
    )

    assert answer.status_code == 403
    assert Run.objects.get().state == "open"


def test_the_token_of_another_run_is_refused(user: User) -> None:
    token = begin_run(make_long_work(user))
    other = make_long_work(user)
    begin_run(other)

    assert call_back(latest_run_of(other), "complete", token).status_code == 403


def test_a_token_is_good_under_a_former_secret_key(
    user: User, settings: LazySettings
) -> None:
    task = make_long_work(user)
    token = begin_run(task)
    former = settings.SECRET_KEY
    settings.SECRET_KEY, settings.SECRET_KEY_FALLBACKS = "n" * 50, [former]

    # The caller has no token that the database knows, so the key of those is not needed.
    assert call_back(latest_run_of(task), "complete", token).status_code == 200


@pytest.mark.parametrize("run_id", ["x", str(NO_RUN)])
def test_a_run_that_is_not_there_is_not_found(user: User, run_id: str) -> None:
    token = run_tokens.make_token(long_work.run_token_keys()[0], NO_RUN, 1)

    answer = APIClient().post(
        f"/runs/{run_id}/complete", HTTP_X_SCHEDULER_RUN_TOKEN=token
    )

    assert answer.status_code == 404


@pytest.mark.parametrize("word", ["complete", "fail", "heartbeat"])
def test_a_wrong_credential_is_refused_before_the_body_is_read(
    user: User, word: str
) -> None:
    # So large that whoever looked at it would refuse it for that.
    body = b'"' + b"x" * 17_000 + b'"'
    task = make_long_work(user)
    begin_run(task)

    for run_id in (NO_RUN, latest_run_of(task).pk):
        answer = APIClient().post(
            f"/runs/{run_id}/{word}",
            body,
            content_type="application/json",
            HTTP_X_SCHEDULER_RUN_TOKEN="srt_1_x",
        )
        assert answer.status_code == 403


def test_a_user_who_reaches_the_task_may_end_its_run(
    user: User, stranger: User, colleague: User, client_for: ClientFor
) -> None:
    task = make_long_work(user)
    begin_run(task)
    path = f"/runs/{latest_run_of(task).pk}/complete"

    for other in (stranger, colleague):
        assert client_for(other).post(path).status_code == 404

    assert client_for(user).post(path).json()["state"] == "succeeded"


def test_a_user_cannot_end_a_run_that_is_only_being_sent(
    user: User, client_for: ClientFor
) -> None:
    task = make_long_work(user)
    Task.objects.update(request="")
    assert len(take_due()) == 1

    answer = client_for(user).post(f"/runs/{latest_run_of(task).pk}/complete")

    assert answer.status_code == 409


@pytest.mark.parametrize(
    ("word", "body", "status"),
    [
        ("complete", b"{", 400),
        ("complete", b'"' + b"x" * 17_000 + b'"', 413),
        ("fail", b"[]", 400),
        ("fail", b'{"reason": 1}', 400),
        ("fail", b'{"reason": "' + b"x" * 1001 + b'"}', 400),
        ("fail", b'{"retry": "no"}', 400),
    ],
)
def test_a_bad_body_changes_nothing(
    user: User, word: str, body: bytes, status: int
) -> None:
    task = make_long_work(user)
    token = begin_run(task)
    run = latest_run_of(task)

    answer = APIClient().post(
        f"/runs/{run.pk}/{word}",
        body,
        content_type="application/json",
        HTTP_X_SCHEDULER_RUN_TOKEN=token,
    )

    assert answer.status_code == status
    run.refresh_from_db()
    assert run.state == "open"
