"""How the URLs of pages are written: with or without a slash at the end."""

from __future__ import annotations

from django.urls import URLPattern, re_path

from console.pages import View, page

# The id of a task, a run or another row.
ID = "[0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12}"


def route(path: str, view: View, name: str, *, is_atomic: bool = False) -> URLPattern:
    return re_path(rf"^{path}/?\Z", page(view, is_atomic=is_atomic), name=name)


def change(path: str, view: View, name: str) -> URLPattern:
    """A page whose change and audit entry are one transaction. It sends no mail."""
    return route(path, view, name, is_atomic=True)
