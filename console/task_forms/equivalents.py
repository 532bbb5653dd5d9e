"""The same task as a command of curl, as one of the client, and as YAML for `apply`."""

from __future__ import annotations

import shlex
from collections.abc import Iterator
from typing import Any, NamedTuple

import yaml

from console.task_forms.bodies import Body
from tasks_api.api.json_codec import dumps

# The options of `scheduler tasks create`; the other fields are given as JSON.
OPTIONS = {
    "url": "--url",
    "queue": "--queue",
    "method": "--method",
    "cron": "--cron",
    "rrule": "--rrule",
    "timezone": "--timezone",
    "frequency": "--every",
    "run_datetime": "--at",
    "start_datetime": "--start",
    "end_datetime": "--end",
    "timeout_seconds": "--timeout",
    "name": "--name",
}
AUTHORIZATION = '-H "Authorization: Bearer $TOKEN"'
PAYLOAD = ("post_data", "body")
# The client derives the type; name and tags stand elsewhere in the file.
UNSAID = ("name", "task_type", "tags", *PAYLOAD)
LINE = " \\\n  "


# A longer body would make the page long, and nobody pastes it.
MAX_SHOWN = 20_000


class Equivalents(NamedTuple):
    """The commands; empty if the body is too long to be shown."""

    curl: str = ""
    cli: str = ""
    yaml: str = ""


NONE = Equivalents()


def of_new(body: Body, *, api: str) -> Equivalents:
    if len(dumps(body)) > MAX_SHOWN:
        return NONE
    # The client knows the type by the other fields.
    told = {name: body[name] for name in body if name != "task_type"}
    command = _cli(["scheduler tasks create"], told)
    return Equivalents(_curl(f"{api}/tasks/", body), command, _yaml(body))


def of_change(
    change: Body, whole: Body, *, api: str, task_id: str, etag: str
) -> Equivalents:
    """Return what makes only the changes; YAML says the whole task."""
    if len(dumps(whole)) > MAX_SHOWN:
        return NONE
    more = ["-X PATCH", f"-H 'If-Match: {etag}'"]
    command = [f"scheduler tasks change {task_id}", f"--if-match '{etag}'"]
    curl = _curl(f"{api}/tasks/id/{task_id}", change, *more)
    return Equivalents(curl, _cli(command, change), _yaml(whole))


def _curl(url: str, body: Body, *more: str) -> str:
    return LINE.join(
        (f"curl {url}", AUTHORIZATION, *more, f"-d {shlex.quote(_json(body))}")
    )


def _json(body: Body) -> str:
    """Return JSON with a field on each line."""
    fields = (f"{dumps(name)}: {dumps(value)}" for name, value in body.items())
    return "{" + ",\n      ".join(fields) + "}"


def _cli(command: list[str], body: Body) -> str:
    rest = {name: body[name] for name in body if not _is_option(name, body[name])}
    data = [f"-d {shlex.quote(_json(rest))}"] if rest else []
    return LINE.join((*command, *_options(body), *data))


def _is_option(name: str, value: Any) -> bool:
    is_said = value is not None and value != []
    return is_said and (name in OPTIONS or name == "tags")


def _options(body: Body) -> Iterator[str]:
    for name, option in OPTIONS.items():
        if body.get(name) is not None:
            yield f"{option} {shlex.quote(str(body[name]))}"
    for tag in body.get("tags") or ():
        yield f"--tag {shlex.quote(tag)}"


def _yaml(body: Body) -> str:
    """Return a file for `scheduler apply`, which knows tasks by tag and name."""
    tags = body.get("tags") or ["my-tasks"]
    name = body.get("name") or "choose-a-name"
    said = {each: body[each] for each in body if each not in UNSAID}
    task = {"name": name, **said}
    if tags[1:]:
        task["tags"] = tags[1:]
    document = {"tag": tags[0], "tasks": [task]}
    text: str = yaml.safe_dump(document, sort_keys=False, allow_unicode=True)
    # JSON is YAML, and keeps numbers as they were written.
    return text + "".join(
        f"  {each}: {dumps(body[each])}\n" for each in PAYLOAD if each in body
    )
