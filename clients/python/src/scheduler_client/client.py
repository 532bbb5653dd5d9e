"""The client: a method for each thing that the service does with tasks."""

from __future__ import annotations

import builtins
from collections.abc import Iterator, Sequence
from datetime import datetime, timedelta
from typing import Any, TypeVar
from uuid import uuid4

from scheduler_client import long_work, wire
from scheduler_client.by_name import ByName
from scheduler_client.connection import Answer, Connected, Connection
from scheduler_client.models import (
    Account,
    Attempt,
    Created,
    Difference,
    Entry,
    FireTimes,
    IssuedToken,
    NewSecret,
    Plan,
    Redriven,
    Run,
    ScheduleChange,
    SigningSecret,
    Task,
    Token,
    User,
    read,
)
from scheduler_client.wire import Fields

Moment = datetime | str
Model = TypeVar("Model")

PAGE = 1000


class Client(Connected):
    """A user of the service. Use one per thread, and close it, or use it in a `with`.

    `timeout` is how long each request may take, in seconds; `retries` how often one is
    sent again when the service is away or asks for patience. Requests that create carry
    an Idempotency-Key, so one that is sent again creates nothing twice. Every method
    raises ApiError for a refusal and Unreachable where no answer came.
    """

    def __init__(
        self, base_url: str, token: str, *, timeout: float = 30.0, retries: int = 4
    ) -> None:
        self._connection = Connection(base_url, token, timeout=timeout, retries=retries)
        self.by_name = ByName(self._connection)

    # Tasks.

    def create(
        self, task: Fields | None = None, /, *, key: str | None = None, **fields: Any
    ) -> Created:
        """Store a task, given as a mapping, as keywords, or both.

        Datetimes must be aware; a timedelta becomes seconds. `key` is the idempotency
        key, a random one if absent: give one of your own to be safe beyond this call.
        """
        answer = self._create("/tasks/", {**(task or {}), **fields}, key)
        return Created(
            answer.body["id"], answer.headers.get("ETag", ""), wire.was_replayed(answer)
        )

    def create_many(
        self, tasks: Sequence[Fields], *, key: str | None = None
    ) -> builtins.list[str]:
        """Store up to 10,000 tasks, all of them or none; their ids, in that order."""
        answer = self._create("/tasks/bulk/", {"tasks": tasks}, key)
        return [str(each) for each in answer.body["ids"]]

    def get(self, task_id: str) -> Task:
        return wire.task(self._get(f"/tasks/id/{wire.part(task_id)}"))

    def list(
        self,
        *,
        name: str | None = None,
        tags: Sequence[str] = (),
        state: str | None = None,
        task_type: str | None = None,
        created_after: Moment | None = None,
        created_before: Moment | None = None,
        next_run_after: Moment | None = None,
        next_run_before: Moment | None = None,
        owner: str | None = None,
        page: int = PAGE,
    ) -> Iterator[Task]:
        """Your tasks, the oldest first, fetched page by page as you go on."""
        query = {
            "name": name,
            "tag": [*tags],
            "state": state,
            "task_type": task_type,
            "created_after": created_after,
            "created_before": created_before,
            "next_run_after": next_run_after,
            "next_run_before": next_run_before,
            "owner": owner,
            "limit": page,
        }
        for each in self._pages("/tasks/", "tasks", query, cursor=""):
            yield wire.read_task(each)

    def count(self) -> int:
        """How many tasks you have."""
        return int(self._get("/tasks/", limit=1).body["count"])

    def change(
        self,
        task: str | Task,
        changes: Fields | None = None,
        /,
        *,
        if_match: str | None = None,
        **fields: Any,
    ) -> Task:
        """Change some fields of a task; None takes an optional one away.

        Of a Task that you have read, what others changed since is not overwritten: that
        raises Stale. With an id, give `if_match` for the same.
        """
        etag = if_match or (task.etag if isinstance(task, Task) else "")
        return wire.task(
            self._connection.say(
                "PATCH",
                f"/tasks/id/{wire.id_of(task)}",
                body=wire.written({**(changes or {}), **fields}),
                headers=wire.if_match(etag),
                # A second time, the ETag would be another one because of the first.
                repeatable=not etag,
            )
        )

    def remove(self, task: str | Task, *, if_match: str | None = None) -> None:
        self._connection.say(
            "DELETE",
            f"/tasks/id/{wire.id_of(task)}",
            headers=wire.if_match(if_match),
            repeatable=True,
        )

    def pause(self, tasks: str | Task | Sequence[str | Task]) -> None:
        """Pause one task or many: all of them, or none."""
        self._switch("pause", tasks)

    def resume(self, tasks: str | Task | Sequence[str | Task]) -> None:
        """Resume one task or many: all of them, or none."""
        self._switch("resume", tasks)

    def run(self, task: str | Task, *, key: str | None = None) -> str:
        """Make a run at once, beside the schedule; its id."""
        answer = self._create(f"/tasks/{wire.id_of(task)}/run/", None, key)
        return str(answer.body["run_id"])

    def next(self, task: str | Task, n: int = 20) -> FireTimes:
        """The coming fire times of a task."""
        return wire.fire_times(self._get(f"/tasks/{wire.id_of(task)}/next/", n=n))

    def preview(
        self,
        task: Fields | None = None,
        /,
        *,
        n: int = 20,
        since: Moment | None = None,
        **fields: Any,
    ) -> FireTimes:
        """The fire times that a task would have, without storing it."""
        body = {**(task or {}), **fields, "n": n, "from": since}
        return wire.fire_times(self._post("/tasks/preview/", body, repeatable=True))

    def plan(self, tag: str, tasks: Sequence[Fields]) -> Plan:
        """What `apply` would do, without doing it."""
        body = {"tag": tag, "tasks": tasks, "dry_run": True}
        return wire.plan(self._post("/tasks/apply/", body, repeatable=True))

    def apply(
        self,
        tag: str,
        tasks: Sequence[Fields],
        *,
        plan: str | Plan | None = None,
        key: str | None = None,
    ) -> Plan:
        """Make your tasks with a tag what a list says, all of it or nothing.

        With the `plan` that you have looked at, raises Stale if it is another one by now.
        """
        expected = plan.plan if isinstance(plan, Plan) else plan
        body = {"tag": tag, "tasks": tasks, "plan": expected}
        return wire.plan(self._create("/tasks/apply/", body, key))

    # What came of them.

    def runs(
        self,
        task: str | Task | None = None,
        *,
        states: Sequence[str] = (),
        since: Moment | None = None,
        until: Moment | None = None,
        notices: bool = False,
        page: int = PAGE,
    ) -> Iterator[Run]:
        """Runs, the newest fire time first, fetched page by page as you go on.

        Of all tasks, those of notices are left out; with `notices` they alone are there.
        """
        path = "/runs/" if task is None else f"/tasks/{wire.id_of(task)}/runs/"
        query = {
            "state": ",".join(states) or None,
            "from": since,
            "to": until,
            "notice": "true" if notices else None,
            "limit": page,
        }
        for each in self._pages(path, "runs", query):
            yield read(Run, each)

    def run_detail(self, run_id: str) -> Run:
        """One run, with its attempts."""
        data = self._get(f"{_run(run_id)}/").body
        attempts = tuple(read(Attempt, each) for each in data.get("attempts", ()))
        return read(Run, data, attempts=attempts)

    def account(
        self,
        task: str | Task,
        *,
        since: Moment | None = None,
        until: Moment | None = None,
    ) -> Account:
        """What a task's schedule planned, and what became of it; a day if not said."""
        path = f"/tasks/{wire.id_of(task)}/account/"
        query = {"from": since, "to": until}
        data = self._connection.say(
            "GET", path, query=wire.query(query), repeatable=True
        ).body
        return read(
            Account,
            data,
            differences=[read(Difference, each) for each in data["differences"]],
            changes=[read(ScheduleChange, each) for each in data["changes"]],
        )

    def redrive(self, run_id: str, *, key: str | None = None) -> str:
        """Send a run again; the id of the new one."""
        answer = self._create(f"{_run(run_id)}/redrive/", None, key)
        return str(answer.body["run_id"])

    def redrive_many(
        self,
        states: Sequence[str],
        *,
        task: str | Task | None = None,
        since: Moment | None = None,
        until: Moment | None = None,
        limit: int | None = None,
        key: str | None = None,
    ) -> Redriven:
        """Send again what is in these states, the oldest first, at most `limit` runs."""
        body = {
            "state": [*states],
            "task_id": None if task is None else wire.id_of(task),
            "from": since,
            "to": until,
            "limit": limit,
        }
        return read(Redriven, self._create("/runs/redrive/", body, key).body)

    def complete(self, run_id: str, answer: Any = None) -> str:
        """End a run of long work as succeeded; its state.

        `answer`, any JSON value, is kept in the place of what its request was answered.
        Raises Conflict where the run ended otherwise, or its deadline has passed.
        """
        return long_work.complete(self._connection, _run(run_id), answer)

    def fail(self, run_id: str, reason: str = "", *, retry: bool = True) -> str:
        """End the attempt of long work as failed; the state of its run.

        That is `retrying` where the task asks for retries and `retry` allows it.
        """
        # Said twice by a user, it could mean the attempt after it.
        return long_work.fail(
            self._connection, _run(run_id), reason, retry, repeatable=False
        )

    def heartbeat(self, run_id: str) -> datetime | None:
        """Put the deadline of long work off; until when.

        None while the request that began it has not been answered.
        """
        return long_work.heartbeat(self._connection, _run(run_id))

    # Access.

    def tokens(self, *, owner: str | None = None) -> Iterator[Token]:
        """Your tokens, the newest first; for administrators also those of others."""
        query = {"owner": owner, "limit": PAGE}
        for each in self._pages("/tokens/", "tokens", query):
            yield read(Token, each)

    def get_token(self, token_id: str) -> Token:
        """One token, without its clear text."""
        return read(Token, self._get(f"/tokens/{wire.part(token_id)}/").body)

    def issue_token(
        self,
        name: str = "",
        *,
        scope: str | None = None,
        expires_in: timedelta | int | None = None,
        user: str | None = None,
    ) -> IssuedToken:
        body = {"name": name, "scope": scope, "expires_in": expires_in, "user": user}
        answer = self._post("/tokens/", body, repeatable=False)
        return read(IssuedToken, answer.body)

    def rotate_token(
        self, token_id: str, *, overlap: timedelta | int | None = None
    ) -> IssuedToken:
        """A new token in the place of one that lives on for `overlap`, in seconds."""
        path = f"/tokens/{wire.part(token_id)}/rotate/"
        answer = self._post(path, {"overlap_seconds": overlap}, repeatable=False)
        return read(IssuedToken, answer.body)

    def revoke_token(self, token_id: str) -> None:
        path = f"/tokens/{wire.part(token_id)}/"
        self._connection.say("DELETE", path, repeatable=True)

    def users(self) -> Iterator[User]:
        """The users of your tenant, the newest first; for administrators, as is all below."""
        for each in self._pages("/users/", "users", {"limit": PAGE}):
            yield read(User, each)

    def get_user(self, name: str) -> User:
        return read(User, self._get(_user(name)).body)

    def add_user(self, name: str, *, role: str | None = None) -> User:
        """Invite a user, a member if no role is said; raises Conflict if there is one."""
        body = {"name": name, "role": role}
        return read(User, self._post("/users/", body, repeatable=False).body)

    def change_user(
        self, name: str, *, role: str | None = None, is_active: bool | None = None
    ) -> User:
        """Give a user another role, or close the door to them, or open it again."""
        body = {"role": role, "is_active": is_active}
        path = _user(name)
        answer = self._connection.say("PATCH", path, body=body, repeatable=True)
        return read(User, answer.body)

    def transfer_tasks(self, name: str, to: str) -> int:
        """Hand all tasks of a user over to another one; how many there were."""
        path = f"/users/{wire.part(name)}/transfer/"
        return int(self._post(path, {"to": to}, repeatable=True).body["count"])

    def signing_secrets(self) -> builtins.list[SigningSecret]:
        """The live secrets that requests are signed with, the newest first."""
        answer = self._get("/signing-secrets/")
        return [read(SigningSecret, each) for each in answer.body["secrets"]]

    def rotate_signing_secret(
        self, *, overlap: timedelta | int | None = None
    ) -> NewSecret:
        """A new secret; the old one signs beside it for `overlap`, in seconds."""
        path, body = "/signing-secrets/rotate/", {"overlap_seconds": overlap}
        return read(NewSecret, self._post(path, body, repeatable=False).body)

    def audit(
        self,
        *,
        actor: str | None = None,
        action: str | None = None,
        object_id: str | None = None,
        since: Moment | None = None,
        until: Moment | None = None,
    ) -> Iterator[Entry]:
        """The audit log of your tenant, the newest first."""
        query = {
            "actor": actor,
            "action": action,
            "object": object_id,
            "from": since,
            "to": until,
            "limit": PAGE,
        }
        for each in self._pages("/audit/", "entries", query):
            yield read(Entry, each)

    # How it is said.

    def _get(self, path: str, **query: Any) -> Answer:
        return self._connection.say(
            "GET", path, query=wire.query(query), repeatable=True
        )

    def _post(self, path: str, body: Fields, *, repeatable: bool) -> Answer:
        said = {name: value for name, value in body.items() if value is not None}
        return self._connection.say(
            "POST", path, body=wire.written(said), repeatable=repeatable
        )

    def _create(self, path: str, body: Fields | None, key: str | None) -> Answer:
        return self._connection.say(
            "POST",
            path,
            body=None if body is None else wire.written(body),
            headers={"Idempotency-Key": key or str(uuid4())},
            repeatable=True,
        )

    def _switch(self, verb: str, tasks: str | Task | Sequence[str | Task]) -> None:
        if isinstance(tasks, str | Task):
            path, body = f"/tasks/{wire.id_of(tasks)}/{verb}/", None
        else:
            ids = [each.id if isinstance(each, Task) else each for each in tasks]
            path, body = f"/tasks/{verb}/", {"ids": ids}
        self._connection.say("POST", path, body=body, repeatable=True)

    def _pages(
        self, path: str, name: str, query: Fields, *, cursor: str | None = None
    ) -> Iterator[Any]:
        while True:
            page = self._connection.say(
                "GET",
                path,
                query=wire.query({**query, "cursor": cursor}),
                repeatable=True,
            ).body
            yield from page[name]
            cursor = page["next_cursor"]
            if not cursor:
                return


def _run(run_id: str) -> str:
    return f"/runs/{wire.part(run_id)}"


def _user(name: str) -> str:
    # One slash at the end is the path's, so that those before it are the name's.
    return f"/users/{wire.part(name)}/"
