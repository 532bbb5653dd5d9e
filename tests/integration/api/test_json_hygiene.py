"""JSON that comes in strictly, and goes out as it came."""

from __future__ import annotations

import io
import json
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from django.conf import LazySettings
from django.core.signals import request_started
from django.db import close_old_connections
from hypothesis import given
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st
from rest_framework.exceptions import ParseError
from rest_framework.test import APIClient

from accounts import services as accounts
from accounts.models import User
from scheduler_service.wsgi import application
from tasks_api.api.json_codec import MAX_DEPTH, dumps, loads
from tasks_api.models import Task
from tests.integration.support.json_samples import (
    BROKEN_TEXTS,
    nested_arrays,
    read_exactly,
)

# Around the post_data, whose text each test chooses.
BODY = (
    '{"task_type": "one_time", "run_datetime": "2090-12-05 08:00:00",'
    ' "url": "http://example.com/hook", "post_data": %s}'
)


JSON = "application/json"


@pytest.mark.parametrize("body", BROKEN_TEXTS, ids=lambda body: repr(body[:32]))
@pytest.mark.parametrize("path", ["/tasks/", "/tasks/pause/", "/tasks/resume/"])
def test_a_body_that_is_not_usable_json_is_a_bad_request(
    api: APIClient, path: str, body: bytes
) -> None:
    answer = api.post(path, body, content_type=JSON)

    assert answer.status_code == 400
    assert answer.json()["error"]["message"].startswith("The request body ")
    assert not Task.objects.exists()


@pytest.mark.parametrize(
    "body", ["[]", "null", '"task_type"', "7", "true", "[{}]", "1.5"]
)
def test_the_body_of_a_task_is_an_object(api: APIClient, body: str) -> None:
    answer = api.post("/tasks/", body, content_type=JSON)

    sentence = "The request body should be a JSON object"
    assert (answer.status_code, answer.json()) == (
        400,
        {"error": {"message": sentence}},
    )


def test_an_empty_body_lacks_everything(api: APIClient) -> None:
    answer = api.post("/tasks/", b"", content_type=JSON)

    sentence = "Missing key: task_type"
    assert (answer.status_code, answer.json()) == (
        400,
        {"error": {"message": sentence}},
    )


@pytest.mark.parametrize(
    "content_type",
    [
        "application/json",
        "application/json; charset=utf-8",
        # What the header says does not matter, not even the charset.
        "text/plain; charset=utf-16",
        "application/json; charset=klingon",
        "application/x-www-form-urlencoded",
        "multipart/form-data; boundary=x",
        "multipart/form-data",
        "application/xml",
        "x" * 5000,
        "/",
        ";;;",
    ],
    ids=lambda content_type: content_type[:40],
)
def test_a_body_is_read_as_json_whatever_its_type(
    api: APIClient, content_type: str
) -> None:
    answer = api.post(
        "/tasks/", (BODY % '{"ü": 1}').encode(), content_type=content_type
    )

    assert answer.status_code == 201
    assert api.get(answer["Location"]).json()["post_data"] == {"ü": 1}


def test_a_body_without_a_type_is_read_too(api: APIClient) -> None:
    answer = api.generic("POST", "/tasks/", BODY % "{}", content_type="")

    assert answer.status_code == 201


def test_a_byte_order_mark_is_ignored(api: APIClient) -> None:
    answer = api.post(
        "/tasks/", b"\xef\xbb\xbf" + (BODY % "{}").encode(), content_type=JSON
    )

    assert answer.status_code == 201


@pytest.mark.parametrize(
    "text",
    [
        '{"z": 1, "a": 2, "m": {"y": 1, "b": 2}}',
        '{"price": 1.10, "big": 1E+5, "small": 1e-7, "zero": -0.0, "exact": 0.1000000000000000055}',
        '{"id": 12345678901234567890, "long": %s}' % ("9" * 999),
        '{"limit": 1.7976931348623157e308, "tiny": 1e-400}',
        '{"€": "ж", "😀": "\\ud83d\\ude00", "quote": "\\" \\\\ \\/ \\u2028 \\t"}',
        '{"": {"": ""}, "null": null, "yes": true, "no": false, "none": [], "empty": {}}',
        '{"RawJSON": "</script><!--", "sql": "\'; DROP TABLE tasks_api_task; --"}',
        # As deep as it may be, with the two objects around it.
        f'{{"deep": {nested_arrays(MAX_DEPTH - 2)}}}',
    ],
    ids=lambda text: text[:32],
)  # fmt: skip
def test_what_was_posted_is_stored_and_shown(api: APIClient, text: str) -> None:
    location = api.post("/tasks/", BODY % text, content_type=JSON)["Location"]

    detail, listed = api.get(location), api.get("/tasks/")

    shown = dict(read_exactly(detail.content.decode()))["post_data"]
    assert shown == read_exactly(text)
    assert read_exactly(Task.objects.get().body) == read_exactly(text)
    assert detail.content in listed.content


NUMBERS = "[-0, 0, -0.0, 0e0, 1e5, 1E5, 1.0e+05, 100e-2, 0.00000001, 1E-7, -1.50]"


def test_numbers_keep_the_text_that_they_were_posted_with(api: APIClient) -> None:
    text = f'{{"numbers": {NUMBERS}}}'

    location = api.post("/tasks/", BODY % text, content_type=JSON)["Location"]

    assert Task.objects.get().body == text
    assert NUMBERS in api.get(location).content.decode()


@pytest.mark.parametrize("frequency", ["-0", "-0.0", "0e5"])
def test_nothing_is_no_frequency_however_it_is_written(
    api: APIClient, frequency: str
) -> None:
    body = (
        '{"task_type": "periodic", "start_datetime": "2090-12-05", "end_datetime": '
        '"2091-12-05", "url": "http://example.com/", "frequency": %s}'
    )

    answer = api.post("/tasks/", body % frequency, content_type=JSON)

    assert answer.status_code == 400
    assert "frequency" in answer.json()["error"]["message"]


def test_of_two_equal_keys_the_last_counts(api: APIClient) -> None:
    api.post("/tasks/", BODY % '{"a": 1, "a": 2}', content_type=JSON)

    assert Task.objects.get().body == '{"a": 2}'


VALUES = st.recursive(
    st.none()
    | st.booleans()
    | st.integers()
    | st.decimals(allow_nan=False, allow_infinity=False, min_value=-(10**300), max_value=10**300)
    | st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0")),
    lambda inner: st.lists(inner)
    | st.dictionaries(
        st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0")), inner
    ),
)  # fmt: skip


@hypothesis_settings(deadline=None)
@given(VALUES)
def test_every_value_survives_being_written_and_read(value: Any) -> None:
    text = dumps(value)

    assert dumps(loads(text.encode())) == text


@hypothesis_settings(deadline=None)
@given(
    st.binary()
    | st.text(alphabet='[]{}",:0123456789.eE+-\\u dDntrfalsu').map(str.encode)
)
def test_no_bytes_break_the_reader(raw: bytes) -> None:
    try:
        value = loads(raw)
    except ParseError:
        return
    assert loads(dumps(value).encode()) == value


# Too large.

LIMIT = 300


TOO_LARGE = {"error": {"message": f"The request body is larger than {LIMIT} bytes"}}


Send = Callable[..., tuple[int, Any]]


@pytest.fixture
def send(user: User, settings: LazySettings) -> Iterator[Send]:
    """Post a body with headers of one's own choice, as the server would hand it over."""
    settings.SCHEDULER_MAX_BODY_BYTES = settings.DATA_UPLOAD_MAX_MEMORY_SIZE = LIMIT
    authorization = f"Bearer {accounts.issue_token(user)}"

    def post(stream: io.BytesIO, **environ: object) -> tuple[int, Any]:
        statuses: list[str] = []

        def start_response(
            status: str, headers: object, error: object = None, /
        ) -> Callable[[bytes], object]:
            statuses.append(status)
            return io.BytesIO().write

        chunks = application(
            {
                "REQUEST_METHOD": "POST",
                "PATH_INFO": "/tasks/",
                "SERVER_NAME": "testserver",
                "SERVER_PORT": "80",
                "wsgi.url_scheme": "http",
                "wsgi.input": stream,
                "wsgi.errors": io.StringIO(),
                "HTTP_AUTHORIZATION": authorization,
                **environ,
            },
            start_response,
        )
        return int(statuses[0][:3]), json.loads(b"".join(chunks))

    # It would end the transaction of the test; Django's own test client does the same.
    request_started.disconnect(close_old_connections)
    yield post
    request_started.connect(close_old_connections)


def padded(size: int) -> bytes:
    return (BODY % "{}").encode().ljust(size)


CHUNKED = {"HTTP_TRANSFER_ENCODING": "chunked", "wsgi.input_terminated": True}


@pytest.mark.parametrize("headers", [{"CONTENT_LENGTH": str(LIMIT)}, CHUNKED])
def test_a_body_may_be_as_large_as_the_limit(
    send: Send, headers: dict[str, object]
) -> None:
    status, _ = send(io.BytesIO(padded(LIMIT)), **headers)

    assert status == 201


@pytest.mark.parametrize(
    "headers",
    [
        {"CONTENT_LENGTH": str(LIMIT + 1)},
        {"CONTENT_LENGTH": str(10**9)},
        # No length at all.
        CHUNKED,
        # A length that lies.
        {**CHUNKED, "CONTENT_LENGTH": "2"},
        {**CHUNKED, "CONTENT_LENGTH": "many"},
    ],
)
@pytest.mark.parametrize("size", [LIMIT + 1, 100 * LIMIT])
def test_a_larger_body_is_refused_without_being_read(
    send: Send, headers: dict[str, object], size: int
) -> None:
    stream = io.BytesIO(padded(size))

    answer = send(stream, **headers)

    assert answer == (413, TOO_LARGE)
    assert stream.tell() <= LIMIT + 1
    assert not Task.objects.exists()


@pytest.mark.parametrize("length", ["2", "100", "many", "-1", ""])
def test_what_lies_beyond_the_length_is_not_read(send: Send, length: str) -> None:
    stream = io.BytesIO(padded(LIMIT))

    status, answer = send(stream, CONTENT_LENGTH=length)

    assert (status, list(answer)) == (400, ["error"])


def test_a_body_that_ends_too_early_is_refused(send: Send) -> None:
    status, answer = send(io.BytesIO(padded(200)[:50]), CONTENT_LENGTH="200")

    assert status == 400
    assert answer["error"]["message"].startswith("The request body is not valid JSON")


class BrokenStream(io.BytesIO):
    def read(self, size: int | None = -1, /) -> bytes:
        raise ConnectionResetError


def test_a_client_that_hangs_up_is_no_failure_of_ours(
    send: Send, caplog: pytest.LogCaptureFixture
) -> None:
    status, answer = send(BrokenStream(), CONTENT_LENGTH="200")

    assert status == 400
    assert answer == {"error": {"message": "The request body did not arrive"}}
    assert not caplog.records


def test_a_length_over_the_limit_is_refused_before_anything_arrives(send: Send) -> None:
    answer = send(BrokenStream(), CONTENT_LENGTH=str(LIMIT + 1))

    assert answer == (413, TOO_LARGE)


def test_a_large_body_is_no_matter_where_none_is_read(
    api: APIClient, settings: LazySettings
) -> None:
    settings.SCHEDULER_MAX_BODY_BYTES = LIMIT

    answer = api.post("/tasks/1/run/", padded(2 * LIMIT), content_type=JSON)

    assert answer.status_code == 404
