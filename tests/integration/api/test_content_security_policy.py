"""The pages of the admin run under their own content security policy."""

from __future__ import annotations

import base64
import hashlib
import re

import pytest
from django.contrib import admin
from django.test import Client

from accounts.models import User
from scheduler_service.http.csp import PAGE_POLICY

pytestmark = pytest.mark.django_db

# With what attributes, and what is in it.
SCRIPT = re.compile(r"<script([^>]*)>(.*?)</script>", re.DOTALL)


def pages() -> list[str]:
    paths = [
        f"/admin/{model._meta.app_label}/{model._meta.model_name}/"
        for model in admin.site._registry
    ]
    return ["/admin/", *paths, *(f"{path}add/" for path in paths)]


def is_allowed(attributes: str, text: str) -> bool:
    if "src=" in attributes or 'type="application/json"' in attributes:
        return True
    digest = base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()
    return f"'sha256-{digest}'" in PAGE_POLICY


@pytest.mark.parametrize("path", pages())
def test_a_page_of_the_admin_runs_under_its_policy(path: str, client: Client) -> None:
    client.force_login(User.objects.create_superuser("boss", password="x"))

    answer = client.get(path)

    assert answer["Content-Security-Policy"] == PAGE_POLICY
    html = answer.content.decode()
    assert all(is_allowed(*found) for found in SCRIPT.findall(html))
    assert not re.search(r"<[^>]*\son\w+=|javascript:", html)
