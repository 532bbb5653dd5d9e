"""Who may call the cron jobs surface: owners, administrators, and callers without a token."""

from __future__ import annotations

import pytest
from django.conf import LazySettings
from rest_framework.test import APIClient

from accounts import services as accounts
from accounts.models import Role, User
from tasks_api.models import Task
from tests.conftest import ClientFor
from tests.integration.support.cron_jobs_surface import JOB, put_job


def test_ids_belong_to_a_tenant(
    api: APIClient, stranger: User, client_for: ClientFor
) -> None:
    put_job(api)

    other = client_for(stranger)
    assert other.delete("/?job_id=job-scheduler-unique-id").status_code == 404
    assert put_job(other).status_code == 202
    assert Task.objects.filter(ended_at=None).count() == 2


def test_a_job_is_replaced_and_removed_by_its_owner_and_by_administrators(
    api: APIClient, colleague: User, client_for: ClientFor
) -> None:
    put_job(api)
    before = Task.objects.get()
    theirs = client_for(colleague)

    refused = put_job(theirs, payload=5), theirs.delete(f"/?job_id={JOB['id']}")

    for answer in refused:
        assert answer.status_code == 403
        assert answer.content.decode() == "What has this id belongs to another user"
    after = Task.objects.get()
    assert (after.body, after.version) == (before.body, before.version)
    accounts.change_user(colleague, role=Role.ADMIN, is_active=None)
    assert put_job(theirs, payload=5).status_code == 202
    assert Task.objects.get().body == "5"
    assert theirs.delete(f"/?job_id={JOB['id']}").status_code == 200


def test_an_anonymous_caller_is_one_more_user_of_the_tenant(
    api: APIClient, settings: LazySettings
) -> None:
    settings.SCHEDULER_ANONYMOUS_TENANT = "Alpha"
    put_job(api)
    put_job(APIClient(), id="nobody's")

    assert put_job(APIClient()).status_code == 403
    assert APIClient().delete(f"/?job_id={JOB['id']}").status_code == 403
    assert put_job(api, id="nobody's").status_code == 403
    assert put_job(APIClient(), id="nobody's").status_code == 202


def test_without_a_token_nobody_gets_in() -> None:
    answer = APIClient().post("/", JOB, format="json")

    assert answer.status_code == 401
    assert answer["WWW-Authenticate"] == "Bearer"
    assert answer["Content-Type"].startswith("text/plain")


@pytest.mark.django_db
def test_an_anonymous_tenant_may_be_set(settings: LazySettings) -> None:
    settings.SCHEDULER_ANONYMOUS_TENANT = "Gamma"

    answers = [put_job(APIClient()).status_code for _ in range(2)]

    task = Task.objects.get()
    assert answers == [202, 202]
    assert (task.tenant.name, task.owner.name) == ("Gamma", "anonymous")


def test_a_wrong_token_does_not_become_anonymous(
    user: User, settings: LazySettings
) -> None:
    settings.SCHEDULER_ANONYMOUS_TENANT = "Alpha"
    client = APIClient()
    client.credentials(HTTP_AUTHORIZATION="Bearer sch_wrong")

    assert put_job(client).status_code == 401


def test_a_deactivated_user_is_not_treated_as_anonymous(
    user: User, settings: LazySettings
) -> None:
    settings.SCHEDULER_ANONYMOUS_TENANT = "Alpha"
    put_job(APIClient())
    accounts.deactivate_user("anonymous")

    assert put_job(APIClient()).status_code == 401
