"""Columns that hold secrets, beside those of the package for encrypted fields."""

from __future__ import annotations

from django.db import models


class SealedTextField(models.TextField):  # type: ignore[type-arg]  # no subscripts at runtime
    """A text that has ciphertexts in it; see encryption.reencrypt()."""


class SealedUrlField(SealedTextField):
    """A URL whose credentials, if it has any, are a ciphertext; see encryption.seal_url()."""
