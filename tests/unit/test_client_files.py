"""Files of declared tasks: what is not clear is refused, before anything is sent."""

from __future__ import annotations

from decimal import Decimal
from pathlib import Path

import pytest
from scheduler_client import task_files


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
        ('{"tag": "x", "tag": "y", "tasks": []}', "tag stands twice"),
        ('{"tag": "x", "tasks": [{"name": "a", "post_data": {"n": NaN}}]}', "NaN"),
        ("tag: x\ntasks: [{name: a, post_data: {n: .inf}}]", ".inf in line 2"),
        # A cron expression without quotes is an alias in YAML.
        ("tag: x\ntasks:\n- cron: * * * * *", r"line 3: .* must stand in quotes"),
        ("tag: x\ntasks: [{url: a}]", "has no name"),
        ("tag: x\ntasks: [{name: '${NOWHERE}'}]", "has no NOWHERE"),
    ],
)
def test_a_file_that_is_not_clear_is_refused(
    file: Path, text: str, complaint: str
) -> None:
    file.write_text(text)

    with pytest.raises(task_files.FileError, match=complaint):
        task_files.load(file, {})


def test_a_file_that_is_not_there(file: Path) -> None:
    with pytest.raises(task_files.FileError, match="No such file"):
        task_files.load(file, {})


def test_defaults_variables_and_dates(file: Path) -> None:
    file.write_text(
        "tag: x\n"
        "defaults: {timezone: Europe/Berlin}\n"
        "tasks:\n"
        "- {name: a, cron: '@daily', headers: {X: '${KEY} $${KEY}'}}\n"
        "- {name: b, timezone: , run_datetime: 2090-12-05 08:00:00}\n"
    )

    tag, (first, second) = task_files.load(file, {"KEY": "s3cret"})

    assert tag == "x"
    assert first["timezone"] == "Europe/Berlin"
    assert first["headers"] == {"X": "s3cret ${KEY}"}
    assert first["task_type"] == "periodic"
    assert second["task_type"] == "one_time"
    assert second["timezone"] is None
    # As it stands there: without an offset, its time zone is for the service to say.
    assert second["run_datetime"] == "2090-12-05 08:00:00"


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("1e3", Decimal("1E+3")),
        ("-0", Decimal("-0")),
        ("0.10000000000000000000001", Decimal("0.10000000000000000000001")),
        ("010", 10),
        ("0o10", 8),
        ("0x1F", 31),
        ("1:30", "1:30"),
        ("on", "on"),
        ("no", "no"),
        ("true", True),
        ("~", None),
        ("2090-12-05", "2090-12-05"),
        ("1_000", "1_000"),
    ],
)
def test_values_are_those_of_yaml_1_2(file: Path, text: str, value: object) -> None:
    file.write_text(f"value: {text}")

    read = task_files.parse(file)["value"]

    assert (repr(read), type(read)) == (repr(value), type(value))


def test_tabs_are_white_space_in_json(file: Path) -> None:
    file.write_text('{\n\t"tag": "x",\n\t"tasks": []\n}')

    assert task_files.load(file, {}) == ("x", [])
