"""The page that explains cron expressions to anybody."""

from __future__ import annotations

import re

import pytest
from django.test import Client
from pytest_django import DjangoAssertNumQueries

from accounts import throttling
from console.cron.views import EXAMPLES
from scheduler_service.db import clock

pytestmark = pytest.mark.django_db

PAGE = {"accept": "text/html"}
LIVE = PAGE | {"HX-Request": "true"}


def explained(client: Client, expression: str, zone: str = "UTC") -> str:
    query = {"expression": expression, "zone": zone}
    return client.get("/cron/", query, headers=LIVE).content.decode()


def test_an_expression_is_explained_without_a_login_or_a_statement(
    client: Client, django_assert_num_queries: DjangoAssertNumQueries
) -> None:
    # The clock of the database is read now and then.
    clock.read()
    with django_assert_num_queries(0):
        page = client.get(
            "/cron/", {"expression": "30 2 * * *", "zone": "Asia/Kolkata"}, headers=PAGE
        )

    text = page.content.decode()
    assert page.status_code == 200
    assert "At 02:30, in Asia/Kolkata" in text
    assert text.count("02:30:00+05:30") == text.count("21:00:00</td>") == 20
    assert "/app/tasks/new/?cron=30+2+%2A+%2A+%2A&amp;timezone=Asia%2FKolkata" in text
    assert "<!doctype" in text


def test_while_one_types_only_the_answer_comes(client: Client) -> None:
    assert explained(client, "0 9 * * MON").lstrip().startswith('<p class="words"')


def test_the_effects_of_clock_changes_are_marked(client: Client) -> None:
    moved = explained(client, "30 2 * * *", "Europe/Berlin")
    doubled = explained(client, "0 * * * *", "Europe/Berlin")

    assert "the clock skips 02:00 to 03:00" in moved
    assert "The clock skips 02:30; it fires when the gap is over." in moved
    assert "This is the second one." in doubled
    assert "the clock shows 02:00 to 03:00 twice" in doubled


@pytest.mark.parametrize(
    ("expression", "field", "sentence"),
    [
        ("61 * * * *", "minute", "Its minute field is not valid."),
        ("0 0 * * FUNDAY", "weekday", "Its weekday field is not valid."),
        ("0 0 0 1 1 * 1234", "year", "Its year field is not valid."),
        ("* 99 * * * *", "minute", "Its minute field is not valid."),
    ],
)
def test_a_wrong_field_is_named(
    client: Client, expression: str, field: str, sentence: str
) -> None:
    text = explained(client, expression)

    assert sentence in text
    row = text.partition(' class="error">')[2].partition("</tr>")[0]
    assert f">{field}<" in row
    assert "wrong" in row


@pytest.mark.parametrize(
    ("expression", "zone", "sentence"),
    [
        ("", "UTC", "It has 0 fields"),
        ("* *", "UTC", "It has 2 fields"),
        ("0 0 0 1 1 * 1990", "UTC", "It never fires again."),
        ("@never", "UTC", "@never is none of"),
        ("0 9 * * *", "Europe/Rome2", "is not known"),
        ("0 0 */31 * 5L", "UTC", "takes too long"),
        ("0" * 600, "UTC", "more than 500 characters"),
        ("<b> 0 0 0 0", "UTC", "not valid"),
    ],
)
def test_what_cannot_be_explained_is_refused_in_a_sentence(
    client: Client, expression: str, zone: str, sentence: str
) -> None:
    text = explained(client, expression, zone)

    assert sentence in text
    assert "<b>" not in text
    assert "Use this in a new task" not in text


def test_each_field_is_said_with_what_it_matches(client: Client) -> None:
    text = explained(client, "5 */20 9-11 L 1,3 sun#1,5L 2030-2031")

    rows = re.findall(
        r"<tr>\s*<th[^>]*>(.*?)</th>\s*<td><code>.*?</td>\s*<td>(.*?)</td>", text
    )
    assert rows == [
        ("second", "5"),
        ("minute", "0, 20, 40"),
        ("hour", "9 to 11"),
        ("day of month", "the last day"),
        ("month", "Jan, Mar"),
        ("weekday", "the first Sun, the last Fri"),
        ("year", "2030 to 2031"),
    ]


@pytest.mark.parametrize("example", EXAMPLES, ids=lambda example: example.expression)
def test_every_example_is_explained(
    client: Client, example: tuple[str, str, str]
) -> None:
    text = explained(client, example[0], example[2])

    assert 'role="alert"' not in text
    assert "fire time" in text


def test_an_address_that_asks_very_often_has_to_wait(client: Client) -> None:
    for _ in range(throttling.MAX_VISITS_PER_MINUTE):
        throttling.record_visit("127.0.0.1")

    page = client.get("/cron/", headers=PAGE)

    assert page.status_code == 429
    assert 0 < int(page["Retry-After"]) <= 60


def test_timers_are_replaced_by_the_same_path(client: Client) -> None:
    assert client.post("/cron/").status_code == 401
    assert client.get("/cron/").status_code == 401


def test_the_front_page_leads_to_it(client: Client) -> None:
    page = client.get("/", headers={"accept": "text/html"})

    assert 'href="/cron/"' in page.content.decode()
