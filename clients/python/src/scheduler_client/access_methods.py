"""The methods of the client for tokens, users, signing secrets and the audit log."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from datetime import timedelta
from typing import Any

from scheduler_client.connection import MAX_PAGE_SIZE, ConnectionOwner
from scheduler_client.decoding import decode, decode_usage
from scheduler_client.encoding import Timestamp, quote_segment
from scheduler_client.models import (
    AuditEntry,
    IssuedToken,
    NewSigningSecret,
    SigningSecret,
    Token,
    Usage,
    User,
)

Seconds = timedelta | int


class AccessMethods(ConnectionOwner):
    def list_tokens(self, *, owner: str | None = None) -> Iterator[Token]:
        """List your tokens, the newest first. Administrators may name another `owner`."""
        query = {"owner": owner, "limit": MAX_PAGE_SIZE}
        for item in self._connection.get_pages("/tokens/", "tokens", query):
            yield decode(Token, item)

    def get_token(self, token_id: str) -> Token:
        """Return a token, without its clear text."""
        return decode(Token, self._connection.get(_token_path(token_id)).body)

    def issue_token(
        self,
        name: str = "",
        *,
        scope: str | None = None,
        expires_in: Seconds | None = None,
        user: str | None = None,
        bounds: Mapping[str, Any] | None = None,
    ) -> IssuedToken:
        """Issue a token, with `bounds` if it is to do no more than these allow."""
        body: dict[str, Any] = {"name": name, "scope": scope}
        body |= {"expires_in": expires_in, "user": user}
        if bounds is not None:
            body["bounds"] = dict(bounds)
        response = self._connection.post("/tokens/", body, idempotent=False)
        return decode(IssuedToken, response.body)

    def rotate_token(
        self, token_id: str, *, overlap: Seconds | None = None
    ) -> IssuedToken:
        """Issue the successor of a token, which stays valid for `overlap` seconds."""
        path, body = f"{_token_path(token_id)}rotate/", {"overlap_seconds": overlap}
        response = self._connection.post(path, body, idempotent=False)
        return decode(IssuedToken, response.body)

    def renew_token(self, token_id: str) -> Token:
        """Let the tasks of a token with the bound `renew_within` go on as long again."""
        path = f"{_token_path(token_id)}renew/"
        return decode(Token, self._connection.post(path, None, idempotent=True).body)

    def get_usage(self) -> Usage:
        """Return the quotas of your tenant and of your token, and what is used."""
        return decode_usage(self._connection.get("/usage/").body)

    def revoke_token(self, token_id: str) -> None:
        self._connection.request("DELETE", _token_path(token_id), idempotent=True)

    def list_users(self) -> Iterator[User]:
        """List the users of your tenant, the newest first. For administrators."""
        query = {"limit": MAX_PAGE_SIZE}
        for item in self._connection.get_pages("/users/", "users", query):
            yield decode(User, item)

    def get_user(self, name: str) -> User:
        """Return a user of your tenant. For administrators."""
        return decode(User, self._connection.get(_user_path(name)).body)

    def add_user(self, name: str, *, role: str | None = None) -> User:
        """Add a user, by default a member. Raises Conflict if the name is taken."""
        body = {"name": name, "role": role}
        response = self._connection.post("/users/", body, idempotent=False)
        return decode(User, response.body)

    def change_user(
        self, name: str, *, role: str | None = None, is_active: bool | None = None
    ) -> User:
        """Change the role of a user, or deactivate or activate them."""
        body = {"role": role, "is_active": is_active}
        response = self._connection.request(
            "PATCH", _user_path(name), body=body, idempotent=True
        )
        return decode(User, response.body)

    def transfer_tasks(self, name: str, to: str) -> int:
        """Transfer all tasks of a user to another user. Returns their number."""
        path = f"{_user_path(name)}transfer/"
        response = self._connection.post(path, {"to": to}, idempotent=True)
        return int(response.body["count"])

    def list_signing_secrets(self) -> list[SigningSecret]:
        """List the live signing secrets, the newest first. For administrators."""
        response = self._connection.get("/signing-secrets/")
        return [decode(SigningSecret, item) for item in response.body["secrets"]]

    def rotate_signing_secret(
        self, *, overlap: Seconds | None = None
    ) -> NewSigningSecret:
        """Create a signing secret. The old one also signs for `overlap` seconds."""
        body = {"overlap_seconds": overlap}
        response = self._connection.post(
            "/signing-secrets/rotate/", body, idempotent=False
        )
        return decode(NewSigningSecret, response.body)

    def list_audit_entries(
        self,
        *,
        actor: str | None = None,
        action: str | None = None,
        object_id: str | None = None,
        since: Timestamp | None = None,
        until: Timestamp | None = None,
    ) -> Iterator[AuditEntry]:
        """List the audit log of your tenant, the newest first. For administrators."""
        query = {
            "actor": actor,
            "action": action,
            "object": object_id,
            "from": since,
            "to": until,
            "limit": MAX_PAGE_SIZE,
        }
        for item in self._connection.get_pages("/audit/", "entries", query):
            yield decode(AuditEntry, item)


def _token_path(token_id: str) -> str:
    return f"/tokens/{quote_segment(token_id)}/"


def _user_path(name: str) -> str:
    # A name may end with slashes; the last slash here belongs to the path.
    return f"/users/{quote_segment(name)}/"
