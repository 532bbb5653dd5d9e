"""Files of tasks: an ambiguous file is refused before anything is sent."""

from __future__ import annotations

from decimal import Decimal
from pathlib import Path

import pytest
from scheduler_client import task_files


@pytest.fixture
def file(tmp_path: Path) -> Path:
    return tmp_path / "tasks.yaml"


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("tag: [", "neither YAML nor JSON"),
        ("tag: x\ntag: y\ntasks: []", "tag is duplicated"),
        ("tag: x\ntasks: {}", "tasks should be a list"),
        ("tag: x\ntasks: [7]", "should be a mapping"),
        ("tag: 7\ntasks: []", "tag should be a string"),
        ("[]", "should be a mapping"),
        ("tag: x\ntasks: []\nextra: 1", "Unknown keys: extra"),
        ('{"tag": "x", "tag": "y", "tasks": []}', "tag is duplicated"),
        ('{"tag": "x", "tasks": [{"name": "a", "post_data": {"n": NaN}}]}', "NaN"),
        ("tag: x\ntasks: [{name: a, post_data: {n: .inf}}]", ".inf in line 2"),
        # A cron expression without quotes is an alias in YAML.
        ("tag: x\ntasks:\n- cron: * * * * *", r"line 3: .* must stand in quotes"),
        ("tag: x\ntasks: [{url: a}]", "has no name"),
        ("tag: x\ntasks: [{name: '${NOWHERE}'}]", "variable NOWHERE is not set"),
    ],
)
def test_an_invalid_file_is_refused(file: Path, text: str, message: str) -> None:
    file.write_text(text)

    with pytest.raises(task_files.FileError, match=message):
        task_files.load_task_file(file, {})


def test_an_absent_file_is_refused(file: Path) -> None:
    with pytest.raises(task_files.FileError, match="No such file"):
        task_files.load_task_file(file, {})


def test_a_file_has_defaults_variables_and_dates(file: Path) -> None:
    file.write_text(
        "tag: x\n"
        "defaults: {timezone: Europe/Berlin}\n"
        "tasks:\n"
        "- {name: a, cron: '@daily', headers: {X: '${KEY} $${KEY}'}}\n"
        "- {name: b, timezone: , run_datetime: 2090-12-05 08:00:00}\n"
    )

    tag, (first, second) = task_files.load_task_file(file, {"KEY": "s3cret"})

    assert tag == "x"
    assert first["timezone"] == "Europe/Berlin"
    assert first["headers"] == {"X": "s3cret ${KEY}"}
    assert first["task_type"] == "periodic"
    assert second["task_type"] == "one_time"
    assert second["timezone"] is None
    # A date stays as it is written: the service knows the time zone of the task.
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
def test_values_are_read_as_yaml_1_2(file: Path, text: str, value: object) -> None:
    file.write_text(f"value: {text}")

    parsed = task_files.read_file(file)["value"]

    assert (repr(parsed), type(parsed)) == (repr(value), type(value))


def test_json_may_be_indented_with_tabs(file: Path) -> None:
    file.write_text('{\n\t"tag": "x",\n\t"tasks": []\n}')

    assert task_files.load_task_file(file, {}) == ("x", [])
