"""Credentials in a URL, and where tests look for them."""

from __future__ import annotations

import base64

from django.db import connection

PASSWORD_MARK = "m4rk3r"


URL_WITH_CREDENTIALS = f"https://ann:{PASSWORD_MARK}@example.com/x?y=z"


URL_AS_SHOWN = "https://***@example.com/x?y=z"


def basic_header(user_and_password: str) -> str:
    return "Basic " + base64.b64encode(user_and_password.encode()).decode()


def all_rows_as_text() -> str:
    """Every row of the database as text."""
    with connection.cursor() as cursor:
        cursor.execute("SELECT tablename FROM pg_tables WHERE schemaname = 'public'")
        names = [name for (name,) in cursor.fetchall()]
        texts = []
        for name in names:
            cursor.execute(f'SELECT row::text FROM "{name}" row')  # noqa: S608 (a name)
            texts += [f"{name}: {row}" for (row,) in cursor.fetchall()]
    return "\n".join(texts)
