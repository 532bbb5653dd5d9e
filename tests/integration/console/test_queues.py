"""The pages of pull queues: their numbers, their messages, and what changes them."""

from __future__ import annotations

import re
from datetime import timedelta
from html import unescape

import pytest
from django.test import Client
from django.utils import timezone
from django.utils.http import urlencode

from accounts.models import AuditEntry, Tenant, User, Via
from tasks_api.models import Message
from tasks_api.services import pull_queue
from tests.integration.support.logins import browser_of
from tests.integration.support.pull_messages import (
    LONG_AGO,
    expire_leases,
    lease_names,
    new_message,
    store_messages,
)
from tests.integration.support.statements import captured_statements

pytestmark = pytest.mark.django_db(transaction=True)

ODD_NAMES = ["../admin", "a/b?c=d&e", " spaces ", "<script>alert(1)</script>", "ü", "."]
FIGURE = re.compile(r'href="(/app/queues/messages\?[^"]*)"[^>]*>\s*<strong>([\d,]+)')
ROW = re.compile(r'<th scope="row">([^<]*)</th>')
NEXT = re.compile(r'href="([^"]*)" rel="next"')


def read(browser: Client, path: str) -> str:
    answer = browser.get(path)
    assert answer.status_code == 200
    return str(answer.content.decode())


def page_of(queue: str, **more: str) -> str:
    return f"/app/queues/messages?{urlencode({'queue': queue, **more})}"


def fill(tenant: Tenant) -> None:
    """Messages of `mail` in all states."""
    for name in ("ready", "also ready", "leased", "back", "gone"):
        retries = 1 if name == "back" else 0
        pull_queue.enqueue(new_message(tenant, name, max_retries=retries))
    later = timezone.now() + timedelta(hours=1)
    pull_queue.enqueue(new_message(tenant, "later", run_at=later))
    Message.objects.filter(name__in=["leased", "back", "gone"]).update(
        leased_until=later
    )
    expire_leases(name__in=["back", "gone"])


def test_each_number_is_the_length_of_its_list(user: User, alpha: Tenant) -> None:
    fill(alpha)
    browser = browser_of(user)

    figures = FIGURE.findall(read(browser, page_of("mail")))

    lists = [ROW.findall(read(browser, unescape(path))) for path, _ in figures]
    assert [len(each) for each in lists] == [int(number) for _, number in figures]
    assert lists == [
        ["ready", "also ready"],
        ["later"],
        ["leased"],
        ["back"],
        ["gone"],
    ]
    overview = read(browser, "/app/queues/")
    assert [
        int(number)
        for number in re.findall(r">\s*(?:<span[^>]*>.</span> )?(\d+)\s*</a>", overview)
    ] == [2, 1, 1, 1, 1]


def test_looking_leases_nothing(user: User, alpha: Tenant) -> None:
    store_messages(alpha, 3)

    read(browser_of(user), page_of("mail"))

    assert lease_names(alpha, 5) == ["n1", "n2", "n3"]


@pytest.mark.parametrize("queue", ODD_NAMES)
def test_a_queue_may_have_any_name(user: User, alpha: Tenant, queue: str) -> None:
    pull_queue.enqueue(new_message(alpha, "<b>", queue=queue, payload='"<script>"'))
    browser = browser_of(user)

    [link] = re.findall(
        r'<th scope="row"><a href="([^"]*)"', read(browser, "/app/queues")
    )
    page = read(browser, unescape(link))

    assert ROW.findall(page) == ["&lt;b&gt;"]
    assert "&quot;&lt;script&gt;&quot;" in page
    assert "<script>alert" not in page


def test_a_long_payload_is_cut_off(user: User, alpha: Tenant) -> None:
    pull_queue.enqueue(new_message(alpha, payload=f'"{"x" * 500_000}"'))

    page = read(browser_of(user), page_of("mail"))

    assert "The first 4000 of 500,002 characters." in page
    assert len(page) < 20_000


@pytest.mark.parametrize("lease", [False, True])
def test_messages_come_in_pages(user: User, alpha: Tenant, lease: bool) -> None:
    until = timezone.now() + timedelta(hours=1) if lease else None
    store_messages(alpha, 120, leased_until=until)
    browser = browser_of(user)

    found: list[str] = []
    path = page_of("mail", state="in-flight" if lease else "ready")
    while path:
        page = read(browser, path)
        found += ROW.findall(page)
        [path] = NEXT.findall(page) or [""]
        path = path and f"/app/queues/messages{unescape(path)}"

    assert found == [f"n{number}" for number in range(1, 121)]


def test_queues_come_in_pages_by_their_names(user: User, alpha: Tenant) -> None:
    names = [f"q{number:02}" for number in range(45)]
    for name in names:
        store_messages(alpha, 2, queue=name)
    browser = browser_of(user)

    found: list[str] = []
    path = "/app/queues"
    while path:
        page = read(browser, path)
        found += re.findall(r"queue=(\w+)&amp;state=ready", page)
        [path] = NEXT.findall(page) or [""]
        path = path and f"/app/queues{unescape(path)}"

    assert list(dict.fromkeys(found)) == names


def test_what_was_lost_is_shown_without_a_message(user: User, alpha: Tenant) -> None:
    store_messages(alpha, 2, leased_until=LONG_AGO)
    lease_names(alpha)

    assert ">2</td>" in read(browser_of(user), "/app/queues")
    assert "2 messages of this queue were lost" in read(
        browser_of(user), page_of("mail")
    )


def test_numbers_are_counted_up_to_a_limit(
    user: User, alpha: Tenant, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("tasks_api.services.queues.MAX_COUNTED_IN_LIST", 3)
    store_messages(alpha, 5)
    store_messages(alpha, 5, queue="old", leased_until=LONG_AGO)

    page = read(browser_of(user), "/app/queues")

    assert page.count(" 3+") == 2


def test_a_page_takes_as_many_statements_for_many_queues_as_for_one(
    user: User, alpha: Tenant
) -> None:
    browser = browser_of(user)

    def count(path: str) -> int:
        with captured_statements() as seen:
            read(browser, path)
        return len(seen)

    store_messages(alpha, 1)
    paths = ["/app/queues", page_of("mail")]
    for_few = [count(path) for path in paths]
    for number in range(20):
        store_messages(alpha, 50, queue=f"mail{number or ''}{'' if number else 's'}")
    pull_queue.enqueue_many([new_message(alpha, f"m{number}") for number in range(60)])

    assert [count(path) for path in paths] == for_few
    assert max(for_few) <= 8


def test_an_empty_list_teaches(user: User) -> None:
    page = read(browser_of(user), "/app/queues")

    assert "curl http://testserver/enqueue" in page


# Changes.


def test_exhausted_messages_wait_again(user: User, alpha: Tenant) -> None:
    fill(alpha)

    browser_of(user).post("/app/queues/requeue", {"queue": "mail"})

    gone = Message.objects.get(name="gone")
    assert (gone.leased_until, gone.retry_count) == (None, 0)
    assert Message.objects.get(name="back").leased_until is not None
    assert "gone" in lease_names(alpha, 9)
    entry = AuditEntry.objects.get(action="queue.requeue")
    assert (entry.object_id, entry.via) == ("mail", Via.CONSOLE)


def test_a_message_is_deleted_after_a_question(user: User, alpha: Tenant) -> None:
    fill(alpha)
    browser, form = browser_of(user), {"queue": "mail", "message": "ready"}

    asked = browser.post("/app/queues/delete", form)
    assert "Delete the message ready?" in asked.content.decode()
    assert Message.objects.count() == 6
    browser.post("/app/queues/delete", {**form, "confirmed": "yes"})

    assert not Message.objects.filter(name="ready").exists()
    assert Message.objects.count() == 5
    assert AuditEntry.objects.get(action="queue.delete").object_id == "mail"
    again = browser.post("/app/queues/delete", {**form, "confirmed": "yes"})
    assert again.status_code == 404


def test_a_queue_is_purged_after_a_question(tenant_admin: User, alpha: Tenant) -> None:
    fill(alpha)
    store_messages(alpha, 2, queue="other")
    browser = browser_of(tenant_admin)

    asked = browser.post("/app/queues/purge", {"queue": "mail"}).content.decode()
    assert "Delete all messages of mail?" in asked
    assert "2 ready" in asked
    browser.post("/app/queues/purge", {"queue": "mail", "confirmed": "yes"})

    assert set(Message.objects.values_list("queue", flat=True)) == {"other"}
    assert AuditEntry.objects.get(action="queue.purge").object_id == "mail"


def test_a_purge_says_if_messages_are_left(
    tenant_admin: User, alpha: Tenant, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("tasks_api.services.queues.MAX_CHANGED", 2)
    monkeypatch.setattr("console.queues.views.MAX_CHANGED", 2)
    store_messages(alpha, 3)
    form = {"queue": "mail", "confirmed": "yes"}

    answer = browser_of(tenant_admin).post("/app/queues/purge", form, follow=True)

    assert "2 messages are deleted. More may be left" in answer.content.decode()
    assert Message.objects.count() == 1


@pytest.mark.parametrize("action", ["requeue", "delete", "purge"])
@pytest.mark.parametrize(
    "form", [{}, {"queue": ""}, {"queue": "\0"}, {"queue": "x" * 256}]
)
def test_a_bad_name_changes_nothing(
    tenant_admin: User, action: str, form: dict[str, str]
) -> None:
    answer = browser_of(tenant_admin).post(
        f"/app/queues/{action}", {**form, "message": "a", "confirmed": "yes"}
    )

    assert answer.status_code == 404


@pytest.mark.parametrize(
    "query",
    [
        "",
        "?queue=",
        "?queue=%00",
        "?queue=a&state=x",
        "?queue=a&after=x",
        "?queue=a&after=MS0y%FF",
    ],
)
def test_a_page_that_is_none_is_not_found(user: User, query: str) -> None:
    assert browser_of(user).get(f"/app/queues/messages{query}").status_code == 404


def test_the_queues_of_another_tenant_are_not_there(
    tenant_admin: User, beta: Tenant
) -> None:
    fill(beta)
    browser = browser_of(tenant_admin)

    assert "No queue has a message." in read(browser, "/app/queues")
    assert ROW.findall(read(browser, page_of("mail"))) == []
    for action, status in (("requeue", 302), ("purge", 302), ("delete", 404)):
        form = {"queue": "mail", "message": "ready", "confirmed": "yes"}
        assert browser.post(f"/app/queues/{action}", form).status_code == status
    assert Message.objects.count() == 6
    assert not AuditEntry.objects.filter(action__startswith="queue.").exists()


def test_a_viewer_and_a_member_see_only_their_buttons(
    user: User, viewer: User, alpha: Tenant
) -> None:
    fill(alpha)

    seen = read(browser_of(viewer), page_of("mail"))
    assert "Delete" not in seen
    assert "Requeue" not in seen
    own = read(browser_of(user), page_of("mail"))
    assert "Requeue what is exhausted" in own
    assert "Delete all messages" not in own
