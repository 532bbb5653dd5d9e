"""What a page shows, compared with what came."""

from __future__ import annotations

import pytest

from tests.acceptance.pages import OutputMismatch, compare

ID = "01a1fc25-cc90-73cc-897d-06cb540be56b"
OTHER = "01a223b0-68ec-7581-af98-bde7e97d4255"


@pytest.mark.parametrize(
    ("shown", "came"),
    [
        ("202", "202\n"),
        (f'{{"id": "{ID}"}}', f'{{"id": "{OTHER}"}}'),
        ('{"end": null}', '{"end": "2026-11-21T10:00:00Z"}'),
        ('[{"b": 1}]', '[{"a": 1}, {"b": 2}]'),
        ("at 2026-11-21T10:00:00Z", "at 2030-01-01T00:00:00.123Z"),
        # It begins like an id of another kind.
        (f"--plan 5f0c{'1' * 28}", f"--plan c5bc{'2' * 28}"),
    ],
)
def test_what_varies_may_differ(shown: str, came: str) -> None:
    compare(shown, came)


@pytest.mark.parametrize(
    ("shown", "came"),
    [
        ("202", "400"),
        ("202", ""),
        ('{"id": "a"}', '{"id": "a", "more": 1}'),
        ('{"id": "a"}', '{"id": 1}'),
        ('{"id": "a"}', "no JSON"),
        ('{"message": "Task paused"}', '{"message": "Task not found"}'),
        ('[{"b": 1}]', "[]"),
        ('[{"b": 1}]', '[{"a": 1}]'),
        ("no such job 404", "no such job 200"),
    ],
)
def test_another_shape_is_told(shown: str, came: str) -> None:
    with pytest.raises(OutputMismatch):
        compare(shown, came)


def test_an_id_of_the_page_stands_for_the_one_that_came() -> None:
    assert compare(f'{{"ids": ["{ID}"]}}', f'{{"ids": ["{OTHER}"]}}') == {ID: OTHER}
