"""Bodies with very many values: refused before they are made, and counted exactly."""

from __future__ import annotations

import json
from typing import Any

import pytest
from django.conf import LazySettings
from django.test import override_settings
from hypothesis import given
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st
from rest_framework.exceptions import APIException
from rest_framework.test import APIClient

from tasks_api.api.json_codec import TooManyValues, loads
from tasks_api.models import Task
from tests.integration.support.tasks_surface import ONE_TIME, error

values = st.recursive(
    st.none() | st.integers() | st.text(alphabet='a"\\,[]{}:\n '),
    lambda inner: st.lists(inner) | st.dictionaries(st.text(alphabet='",[{\\'), inner),
)


def count(value: Any) -> int:
    match value:
        case list():
            return 1 + sum(map(count, value))
        case dict():
            return 1 + sum(map(count, value.values()))
    return 1


@given(values, st.sampled_from([None, 1, "\t\r\n "]))
@hypothesis_settings(deadline=None)
def test_a_body_may_have_so_many_values_and_no_more(
    value: Any, indent: int | str | None
) -> None:
    raw = json.dumps(value, indent=indent).encode()
    held = count(value)

    assert refused(raw, limit=held) is False
    if held > 1:
        assert refused(raw, limit=held - 1) is True


def refused(raw: bytes, *, limit: int) -> bool:
    with override_settings(SCHEDULER_MAX_BODY_VALUES=limit):
        try:
            loads(raw)
        except TooManyValues:
            return True
    return False


@pytest.mark.parametrize(
    "raw",
    [
        b'["' + b'\\"' * 100_000,
        b'["' + b'\\",' * 100_000,
        b"[" * 100_000,
        b"[ " * 100_000,
        b'["\\\n' * 100_000,
    ],
)
def test_what_is_no_json_is_no_more_work(raw: bytes) -> None:
    with pytest.raises(APIException):
        loads(raw)


@pytest.mark.django_db
@pytest.mark.parametrize("path", ["/tasks/", "/tasks/bulk/", "/tasks/apply/"])
def test_too_many_values_are_refused_in_a_sentence(
    api: APIClient, settings: LazySettings, path: str
) -> None:
    settings.SCHEDULER_MAX_BODY_VALUES = 50

    answer = api.post(path, [[]] * 50, format="json")

    told = error("The request body has more than 50 values")
    assert (answer.status_code, answer.json()) == (413, told)
    assert not Task.objects.exists()


@pytest.mark.django_db
def test_ten_thousand_tasks_are_not_too_many(api: APIClient) -> None:
    answer = api.post("/tasks/bulk/", [ONE_TIME] * 10_000, format="json")

    assert answer.status_code == 201
