"""A tenant travels in a file; one that was changed or cut off is refused as a whole."""

from __future__ import annotations

import json
import random
import zipfile
from datetime import timedelta
from pathlib import Path

import pytest
from django.conf import LazySettings
from django.core.management import CommandError, call_command
from django.utils import timezone

from accounts.models import Tenant
from tasks_api.models import Run
from tasks_api.moving import archive, files, taking_back
from tasks_api.moving.errors import MoveRefused
from tasks_api.scheduler import rescue
from tests.integration.support.moves import ignore, read_state
from tests.integration.support.tenant_rows import count_rows, find_strays
from tests.integration.support.tenant_steps import Side
from tests.integration.support.two_databases import OtherDatabase

pytestmark = pytest.mark.django_db(transaction=True)


@pytest.fixture(autouse=True)
def no_request_is_under_way(sides: list[Side]) -> None:
    running = Run.objects.filter(state="running")
    running.update(wake_at=timezone.now() - timedelta(hours=1))
    rescue.rescue_runs()


def test_a_tenant_travels_in_a_file(
    alpha: Tenant, other: OtherDatabase, tmp_path: Path
) -> None:
    before, file = read_state(alpha), tmp_path / "alpha.zip"

    call_command("export_tenant", alpha.name, str(file))
    with other.here():
        call_command("import_tenant", str(file))
        assert read_state(alpha) == before
        assert find_strays() == {}
        # Said again, it changes nothing.
        call_command("import_tenant", str(file))
        assert read_state(alpha) == before
    with pytest.raises(CommandError, match="--imported"):
        call_command("forget_moved_tenant", alpha.name, "--yes")
    call_command("forget_moved_tenant", alpha.name, "--yes", "--imported")

    assert not Tenant.objects.filter(pk=alpha.pk).exists()


def test_an_export_is_taken_back(alpha: Tenant, tmp_path: Path) -> None:
    before = read_state(alpha)
    files.export_tenant(alpha, tmp_path / "alpha.zip", ignore)

    taking_back.abort_move(alpha, None, ignore)

    assert read_state(alpha) == before


def refuse(other: OtherDatabase, file: Path, match: str = r"\w") -> None:
    with other.here():
        before = count_rows()
        with pytest.raises(MoveRefused, match=match):
            files.import_tenant(file, ignore)
        assert count_rows() == before


def test_a_file_that_is_none_of_ours_is_refused(
    alpha: Tenant, other: OtherDatabase, tmp_path: Path, settings: LazySettings
) -> None:
    file, bad = tmp_path / "alpha.zip", tmp_path / "bad.zip"
    files.export_tenant(alpha, file, ignore)
    whole = file.read_bytes()

    refuse(other, tmp_path / "none.zip", "There is no file")
    for content in (b"", b"PK", random.Random(1).randbytes(10_000), whole[:-100]):
        bad.write_bytes(content)
        refuse(other, bad, "no archive|damaged")
    with zipfile.ZipFile(bad, "w") as empty:
        empty.writestr("x", "y")
    refuse(other, bad, "no archive")
    for text in ("[]", "{}", "x", '{"manifest": 1, "signature": 2}', "[" * 100_000):
        with zipfile.ZipFile(bad, "w") as empty:
            empty.writestr(archive.MANIFEST, text)
        refuse(other, bad)
    settings.SECRET_KEY = "another key, by which nothing here was signed or sealed"
    refuse(other, file, "SECRET_KEY")


def test_a_file_with_a_changed_byte_stores_nothing_or_all(
    alpha: Tenant, other: OtherDatabase, tmp_path: Path
) -> None:
    file, bad = tmp_path / "alpha.zip", tmp_path / "bad.zip"
    files.export_tenant(alpha, file, ignore)
    whole, dice = file.read_bytes(), random.Random(7)

    for _ in range(60):
        changed = bytearray(whole)
        changed[dice.randrange(len(changed))] ^= 1 << dice.randrange(8)
        bad.write_bytes(changed)
        with other.here():
            try:
                files.import_tenant(bad, ignore)
            except MoveRefused:
                assert not Tenant.objects.filter(pk=alpha.pk).exists()
            else:
                # The byte means nothing, such as one of a date.
                call_command("export_tenant", alpha.name, str(tmp_path / "again.zip"))
                call_command("forget_moved_tenant", alpha.name, "--yes", "--imported")
                (tmp_path / "again.zip").unlink()


def test_a_part_in_the_place_of_another_is_refused(
    alpha: Tenant, other: OtherDatabase, tmp_path: Path
) -> None:
    file, forged = tmp_path / "alpha.zip", tmp_path / "forged.zip"
    files.export_tenant(alpha, file, ignore)
    with zipfile.ZipFile(file) as old, zipfile.ZipFile(forged, "w") as new:
        for name in old.namelist():
            source = name
            if name == "parts/accounts_user.copy":
                source = "parts/accounts_token.copy"
            new.writestr(name, old.read(source))
    refuse(other, forged, "changed|damaged")

    envelope = json.loads(zipfile.ZipFile(file).read(archive.MANIFEST))
    envelope["manifest"] = envelope["manifest"].replace('"Alpha"', '"Omega"')
    with zipfile.ZipFile(file) as old, zipfile.ZipFile(forged, "w") as new:
        for name in old.namelist():
            if name != archive.MANIFEST:
                new.writestr(name, old.read(name))
        new.writestr(archive.MANIFEST, json.dumps(envelope))
    refuse(other, forged, "changed")


def test_a_file_is_not_overwritten(alpha: Tenant, tmp_path: Path) -> None:
    file = tmp_path / "alpha.zip"
    file.write_text("precious")

    with pytest.raises(CommandError, match="already"):
        call_command("export_tenant", alpha.name, str(file))

    assert file.read_text() == "precious"
    alpha.refresh_from_db()
    assert alpha.frozen_at is None
