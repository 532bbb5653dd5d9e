"""Model fields that contain ciphertexts."""

from __future__ import annotations

from django.db import models


class SealedTextField(models.TextField):  # type: ignore[type-arg]  # no subscripts at runtime
    """A text with ciphertexts in it; see encryption.reencrypt()."""


class SealedUrlField(SealedTextField):
    """A URL whose credentials, if any, are a ciphertext; see encryption.seal_url()."""
