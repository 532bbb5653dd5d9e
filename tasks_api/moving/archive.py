"""A tenant as a file: a zip archive with the parts, and a signed manifest.

The manifest has the size and the digest of each part, and a signature by a key that
follows from SECRET_KEY. So a file that was cut off, changed or forged is refused before
anything of it is stored. The secrets in it are sealed with SECRET_KEY as they are in the
database; everything else can be read by whoever has the file.
"""

from __future__ import annotations

import base64
import hashlib
import hmac
import json
import struct
import zipfile
import zlib
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from datetime import datetime
from pathlib import Path
from typing import IO, Any, NamedTuple
from uuid import UUID

from django.conf import settings

from accounts import encryption
from tasks_api.moving.copying import PartTotals
from tasks_api.moving.errors import MoveRefused
from tasks_api.moving.history import ClosedHistory
from tasks_api.moving.parts import Column, Part, list_parts
from tasks_api.moving.sources import (
    AccountTotals,
    Schema,
    SnapshotSource,
    Traveller,
)

FORMAT = 1
MANIFEST = "manifest.json"
MAX_MANIFEST_BYTES = 4 * 1024 * 1024
PIECE_BYTES = 256 * 1024
# Text that repeats shrinks most at once; more takes longer than the copy itself.
COMPRESSION_LEVEL = 1
UNREADABLE = "The file is no archive of a tenant, or it is damaged."
FORGED = (
    "The file was changed, or made with another SECRET_KEY. Give both services the same "
    "key, or name it in SECRET_KEY_FALLBACKS."
)


class StoredPart(NamedTuple):
    """A part in the file; the fields are those of the manifest."""

    name: str
    rows: int
    checksum: str
    size: int
    sha256: str

    @property
    def file(self) -> str:
        return f"parts/{self.name}.copy"


def _signatures(text: bytes) -> Iterator[str]:
    for key in (settings.SECRET_KEY, *settings.SECRET_KEY_FALLBACKS):
        own = hmac.digest(key.encode(), b"archives of tenants", "sha256")
        yield hmac.new(own, text, "sha256").hexdigest()


def write_archive(source: SnapshotSource, path: Path) -> int:
    """Write a tenant into a new file; returns the bytes of its parts.

    The file has its name only when it is whole.
    """
    unfinished = path.with_name(f"{path.name}.part")
    with zipfile.ZipFile(
        unfinished, "w", zipfile.ZIP_DEFLATED, compresslevel=COMPRESSION_LEVEL
    ) as archive:
        parts = [_write_part(archive, source, part) for part in source.parts]
        text = json.dumps(_describe(source, parts), sort_keys=True)
        signature = next(_signatures(text.encode()))
        archive.writestr(
            MANIFEST, json.dumps({"manifest": text, "signature": signature})
        )
    unfinished.replace(path)
    return sum(part.size for part in parts)


def _write_part(
    archive: zipfile.ZipFile, source: SnapshotSource, part: Part
) -> StoredPart:
    totals, digest, size = source.totals(part), hashlib.sha256(), 0
    stored = StoredPart(part.name, *totals, size=0, sha256="")
    with archive.open(stored.file, "w", force_zip64=True) as file:
        for row in source.read(part):
            digest.update(row)
            size += file.write(row)
    return stored._replace(size=size, sha256=digest.hexdigest())


def _describe(source: SnapshotSource, parts: list[StoredPart]) -> dict[str, Any]:
    tenant_id, name, move_id = source.traveller
    account, oldest = source.account, source.oldest_run
    key = encryption.encrypt(base64.b64encode(source.run_key).decode())
    return {
        "format": FORMAT,
        "tenant": {"id": tenant_id, "name": name, "move_id": str(move_id)},
        "schema": source.schema._asdict(),
        "parts": [part._asdict() for part in parts],
        "account": {
            **account._asdict(),
            "since": account.since.isoformat(),
            "until": account.until.isoformat(),
        },
        "oldest_run": oldest and oldest.isoformat(),
        "run_key": key,
    }


class ArchiveSource:
    """A tenant in a file whose manifest was verified."""

    closed: ClosedHistory | None = None
    stays_frozen = False

    def __init__(self, archive: zipfile.ZipFile, manifest: dict[str, Any]) -> None:
        self._archive = archive
        tenant, schema = manifest["tenant"], manifest["schema"]
        self.traveller = Traveller(
            tenant["id"], tenant["name"], UUID(tenant["move_id"])
        )
        columns = {
            table: [Column._make(each) for each in found]
            for table, found in schema["columns"].items()
        }
        self.schema = Schema(schema["migrations"], columns)
        self._stored = {each["name"]: StoredPart(**each) for each in manifest["parts"]}
        account = manifest["account"]
        self.account = AccountTotals(
            datetime.fromisoformat(account["since"]),
            datetime.fromisoformat(account["until"]),
            *(account[name] for name in AccountTotals._fields[2:]),
        )
        oldest = manifest["oldest_run"]
        self.oldest_run = oldest and datetime.fromisoformat(oldest)
        self.run_key = base64.b64decode(encryption.decrypt(manifest["run_key"]))

    @property
    def parts(self) -> list[Part]:
        return list(list_parts(self.traveller.tenant_id, self.schema.columns))

    def read(self, part: Part) -> Iterator[bytes]:
        stored = self._stored[part.name]
        with self._archive.open(stored.file) as file:
            yield from _pieces(file, stored.size)

    def totals(self, part: Part) -> PartTotals:
        stored = self._stored[part.name]
        return PartTotals(stored.rows, stored.checksum)

    def verify(self) -> None:
        """Raise MoveRefused unless the file has all parts as they were written."""
        if self._stored.keys() != {part.name for part in self.parts}:
            raise MoveRefused(UNREADABLE)
        for stored in self._stored.values():
            digest = hashlib.sha256()
            with self._archive.open(stored.file) as file:
                for piece in _pieces(file, stored.size):
                    digest.update(piece)
            if digest.hexdigest() != stored.sha256:
                raise MoveRefused(FORGED)


def _pieces(file: IO[bytes], size: int) -> Iterator[bytes]:
    """Yield the bytes of a part. What is longer than its manifest says is not read on."""
    left = size
    while piece := file.read(PIECE_BYTES):
        left -= len(piece)
        if left < 0:
            raise MoveRefused(FORGED)
        yield piece
    if left:
        raise MoveRefused(FORGED)


# What zipfile raises when a file is damaged, in one place or the other.
DAMAGES = (
    EOFError,
    KeyError,
    NotImplementedError,
    OSError,
    RuntimeError,
    ValueError,
    struct.error,
    zipfile.BadZipFile,
    zlib.error,
)


@contextmanager
def open_archive(path: Path) -> Iterator[ArchiveSource]:
    """A tenant in a file, all of which was verified. Raises MoveRefused."""
    if not path.is_file():
        raise MoveRefused(f"There is no file {path}.")
    with ExitStack() as opened:
        try:
            archive = opened.enter_context(zipfile.ZipFile(path))
            source = _open(archive)
            source.verify()
        except DAMAGES as error:
            raise MoveRefused(f"{UNREADABLE} ({error})") from None
        yield source


def _open(archive: zipfile.ZipFile) -> ArchiveSource:
    try:
        with archive.open(MANIFEST) as file:
            envelope = json.loads(file.read(MAX_MANIFEST_BYTES))
        text, signature = envelope["manifest"], envelope["signature"]
        known = [
            hmac.compare_digest(each, signature) for each in _signatures(text.encode())
        ]
    except (KeyError, TypeError, ValueError, AttributeError, RecursionError):
        raise MoveRefused(UNREADABLE) from None
    if not any(known):
        raise MoveRefused(FORGED)
    manifest = json.loads(text)
    if manifest["format"] != FORMAT:
        raise MoveRefused(
            f"The file has the format {manifest['format']}, and this release reads {FORMAT}."
        )
    return ArchiveSource(archive, manifest)
