"""Files of declared tasks: what is not clear is refused, before anything is sent."""

from __future__ import annotations

from pathlib import Path

import pytest
from scheduler_client import files


@pytest.fixture
def file(tmp_path: Path) -> Path:
    return tmp_path / "tasks.yaml"


@pytest.mark.parametrize(
    ("text", "complaint"),
    [
        ("tag: [", "neither YAML nor JSON"),
        ("tag: x\ntag: y\ntasks: []", "stands twice"),
        ("tag: x\ntasks: {}", "tasks should be a list"),
        ("tag: x\ntasks: [7]", "should be a mapping"),
        ("tag: 7\ntasks: []", "tag should be a text"),
        ("[]", "should be a mapping"),
        ("tag: x\ntasks: []\nextra: 1", "Unknown: extra"),
        # The service ignores what it does not know; in a file that is a slip.
        ("tag: x\ntasks: [{name: a, retries: 3}]", "unknown fields: retries"),
        ("tag: x\ntasks: [{url: a}]", "has no name"),
        ("tag: x\ntasks: [{name: '${NOWHERE}'}]", "has no NOWHERE"),
    ],
)
def test_a_file_that_is_not_clear_is_refused(
    file: Path, text: str, complaint: str
) -> None:
    file.write_text(text)

    with pytest.raises(files.FileError, match=complaint):
        files.load(file, {})


def test_a_file_that_is_not_there(file: Path) -> None:
    with pytest.raises(files.FileError, match="No such file"):
        files.load(file, {})


def test_defaults_variables_and_dates(file: Path) -> None:
    file.write_text(
        "tag: x\n"
        "defaults: {timezone: Europe/Berlin}\n"
        "tasks:\n"
        "- {name: a, cron: '@daily', headers: {X: '${KEY} $${KEY}'}}\n"
        "- {name: b, timezone: , run_datetime: 2090-12-05 08:00:00}\n"
    )

    tag, (first, second) = files.load(file, {"KEY": "s3cret"})

    assert tag == "x"
    assert first["timezone"] == "Europe/Berlin"
    assert first["headers"] == {"X": "s3cret ${KEY}"}
    assert first["task_type"] == "periodic"
    assert second["task_type"] == "one_time"
    assert second["timezone"] is None
    assert second["run_datetime"] == "2090-12-05T08:00:00+00:00"
