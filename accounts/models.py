"""Tenants, their users, and the secrets with which both prove who they are."""

from __future__ import annotations

import base64
import hashlib
import secrets
from datetime import datetime
from typing import Self

from django.contrib.auth.models import AbstractUser
from django.core.validators import MaxValueValidator, MinValueValidator
from django.db import models
from django.db.models import Q
from django.utils import timezone
from encrypted_fields.fields import EncryptedTextField

# A century of days, so that no date is out of range.
LONGEST_RETENTION = 36_500


class Tenant(models.Model):
    """The customer that owns rows; the wall between them."""

    name = models.CharField(max_length=100, unique=True)
    callback_url = models.TextField(
        blank=True, help_text="Where the timers of this tenant are delivered."
    )
    shared_secret_digest = models.CharField(
        max_length=64, unique=True, null=True, blank=True, editable=False
    )
    # Kept too because it is sent along with each timer that is delivered.
    shared_secret = EncryptedTextField(null=True, blank=True, editable=False)
    max_in_flight = models.PositiveIntegerField(
        null=True,
        blank=True,
        validators=[MinValueValidator(1)],
        help_text="Runs that one worker holds of this tenant; empty is the setting.",
    )
    retention_days = models.PositiveIntegerField(
        null=True,
        blank=True,
        validators=[MinValueValidator(1), MaxValueValidator(LONGEST_RETENTION)],
        help_text="Days that its history is kept; empty is the setting.",
    )
    created_at = models.DateTimeField(auto_now_add=True)

    def __str__(self) -> str:
        return self.name


class Role(models.TextChoices):
    MEMBER = "member"
    ADMIN = "admin"


class User(AbstractUser):
    """A person of one tenant, or of none: the staff who run the service."""

    tenant = models.ForeignKey(
        Tenant, models.CASCADE, null=True, blank=True, related_name="users"
    )
    # What the tenant calls the user; `username` is this and the tenant's name.
    name = models.CharField(max_length=150, blank=True)
    role = models.CharField(max_length=10, choices=Role, default=Role.MEMBER)

    class Meta:
        constraints = [
            models.UniqueConstraint(
                fields=["tenant", "name"], name="user_name_once_per_tenant"
            )
        ]

    def __str__(self) -> str:
        return self.username


TOKEN_PREFIX = "sch_"  # noqa: S105 (the part that every token starts with)


def mint_token() -> str:
    return TOKEN_PREFIX + secrets.token_urlsafe(32)


def digest(clear_text: str) -> str:
    # A plain hash is enough: the token is 256 random bits, so there is no
    # dictionary to try, and a slow hash would tax every API request.
    return hashlib.sha256(clear_text.encode("utf-8", "surrogatepass")).hexdigest()


class Token(models.Model):
    """A bearer credential of one user; only its digest is stored."""

    user = models.ForeignKey(User, models.CASCADE, related_name="tokens")
    name = models.CharField(max_length=100, blank=True)
    digest = models.CharField(max_length=64, unique=True, editable=False)
    prefix = models.CharField(
        max_length=12, editable=False, help_text="The first characters, to know it by."
    )
    created_at = models.DateTimeField(auto_now_add=True)
    expires_at = models.DateTimeField(null=True, blank=True)
    revoked_at = models.DateTimeField(null=True, blank=True)
    last_used_at = models.DateTimeField(null=True, blank=True, editable=False)

    def __str__(self) -> str:
        return f"{self.prefix}… of {self.user}"


def mint_signing_secret() -> str:
    """A Standard Webhooks symmetric secret: `whsec_` and 32 random bytes in base64."""
    return "whsec_" + base64.b64encode(secrets.token_bytes(32)).decode()


class SigningSecretQuerySet(models.QuerySet["SigningSecret"]):
    def live(self, now: datetime) -> Self:
        return self.filter(Q(expires_at=None) | Q(expires_at__gt=now))


class SigningSecret(models.Model):
    """What a tenant's outgoing requests are signed with; two are live while rotating."""

    tenant = models.ForeignKey(Tenant, models.CASCADE, related_name="signing_secrets")
    secret = EncryptedTextField(default=mint_signing_secret, editable=False)
    created_at = models.DateTimeField(default=timezone.now, editable=False)
    expires_at = models.DateTimeField(null=True, blank=True)

    objects = SigningSecretQuerySet.as_manager()

    def __str__(self) -> str:
        return f"signing secret {self.pk} of {self.tenant}"
