"""Say every example of the five documents to a running service, and print its answers.

The requests are those of the documents, word for word but for dates and hosts. At the
end a cron job puts messages into this service's own pull queue.
"""

from __future__ import annotations

import argparse
import json
import sys
import time
from datetime import UTC, datetime, timedelta
from typing import Any
from urllib.parse import urlsplit

import requests

PATIENCE = 30.0  # seconds until what has not happened counts as lost
LATER = "2090-12-05 08:00:00"
SMS = {
    "campaign_name": "SMS Campaign",
    "phone_number": "09230862348",
    "smart_list_id": 123456,
    "content": "text to be sent as sms",
}


class Walk:
    """A conversation, in which every answer has a status that it is expected to have."""

    def __init__(self, url: str, **headers: str) -> None:
        self._url = url
        self._session = requests.Session()
        self._session.trust_env = False  # neither a proxy nor a .netrc may meddle
        self._session.headers.update(headers)

    def say(
        self, method: str, path: str, body: object = None, *, expect: int = 200
    ) -> Any:
        """Print a request and its answer; returns the answer's JSON, if it has any."""
        data = None if body is None else json.dumps(body)
        print(f"\n> {method} {path}" + (f"\n> {data}" if data else ""))
        answer = self._session.request(method, self._url + path, data=data, timeout=10)
        print(f"< {answer.status_code} {answer.text}".rstrip())
        if answer.status_code != expect:
            sys.exit(f"Expected {expect}.")
        is_json = answer.headers.get("Content-Type") == "application/json"
        return answer.json() if is_json and answer.content else None

    def ask_until(self, path: str, **wanted: object) -> None:
        """Ask again until the answer has these fields, and print that last one."""
        deadline = time.monotonic() + PATIENCE
        while time.monotonic() < deadline:
            found = self._session.get(self._url + path, timeout=10)
            if found.json().items() >= wanted.items():
                print(f"\n> GET {path}\n< {found.status_code} {found.text}")
                return
            time.sleep(0.2)
        sys.exit(f"{path} did not become {wanted}.")

    def take(self, queue: str) -> Any:
        """The first message that comes into a queue."""
        deadline = time.monotonic() + PATIENCE
        while time.monotonic() < deadline:
            found = self._session.get(f"{self._url}/next?queue={queue}", timeout=10)
            if found.status_code == 200:
                print(f"\n> GET /next?queue={queue}\n< 200 {found.text}")
                return found.json()[0]
            time.sleep(0.2)
        sys.exit(f"Nothing came into {queue}.")


def chapter(title: str) -> None:
    print(f"\n\n=== {title} ===")


def tasks(walk: Walk, target: str) -> None:
    chapter("Tasks")
    periodic = {
        "frequency": 3601,
        "task_type": "periodic",
        "start_datetime": LATER,
        "end_datetime": "2091-01-05 08:00:00",
        "url": f"{target}/sms/send/",
        "post_data": SMS,
    }
    interval = {
        **periodic,
        "task_type": "interval",
        "start_datetime": "2090-12-05T08:00:00-05:00",
        "end_datetime": "2091-01-05T08:00:00-05:00",
    }
    one_time = {
        "task_type": "one_time",
        "run_datetime": LATER,
        "url": f"{target}/sms/send/",
        "post_data": SMS,
    }
    made = [
        walk.say("POST", "/tasks/", body, expect=201)["id"]
        for body in (interval, periodic, one_time)
    ]
    one, *_ = made
    walk.say("GET", "/tasks/")
    walk.say("GET", f"/tasks/id/{one}")
    walk.say("POST", f"/tasks/{one}/pause/")
    walk.say("POST", f"/tasks/{one}/resume/")
    walk.say("POST", "/tasks/pause/", {"ids": made})
    walk.say("POST", "/tasks/resume/", {"ids": made})
    for task in made:
        walk.say("DELETE", f"/tasks/id/{task}")
    walk.say("GET", f"/tasks/id/{one}", expect=404)
    walk.say("DELETE", f"/tasks/id/{one}", expect=404)


def cron_jobs(walk: Walk, target: str) -> None:
    chapter("Cron jobs")
    job = {
        "id": "job-scheduler-unique-id",
        "endpoint": f"{target}/enqueue",
        "cron": "*/10 * * * * * *",
        "payload": {
            "id": "1",
            "queue": "test-queue",
            "timeout": 30,
            "persist_data": True,
            "payload": "say my name",
        },
        "retry_already_running": 3,
        "recovery_check": True,
    }
    walk.say("POST", "/", job, expect=202)
    walk.say("POST", "/", job, expect=202)
    walk.say("DELETE", "/?job_id=job-scheduler-unique-id")
    walk.say("DELETE", "/?job_id=job-scheduler-unique-id", expect=404)


def timers(walk: Walk) -> None:
    chapter("Timers")
    timer = {"timestamp": "2090-04-15T14:17:00-07:00", "body": {"foo": "bar"}}
    made = walk.say("POST", "/insert", timer)["id"]
    walk.say("POST", "/delete", {"id": made})
    walk.say("POST", "/delete", {"id": "cknjdu2k300153zugmucamxxo"})
    crons = [
        {"id": "hello_world", "spec": "30 * * * * *"},
        {"id": "hello_world_2", "spec": "0 * * * * *"},
    ]
    walk.say("POST", "/cron", {"jobs": crons})
    walk.say("POST", "/cron", {"jobs": []})
    # What is past is delivered at once.
    walk.say("POST", "/insert", {**timer, "timestamp": "2021-04-15T14:17:00-07:00"})


def rest_jobs(walk: Walk, target: str) -> None:
    chapter("Rest jobs")
    job = {
        "task": {
            "method": "POST",
            "uri": f"{target}/",
            "body": {"hello": "world"},
            "expected_range": "200-300",
        },
        "schedule": "2090-01-24T12:28:27-08:00",
    }
    made = walk.say("POST", "/api/v1/jobs", job, expect=201)
    walk.say("GET", made["link"])
    made = walk.say("POST", "/api/v1/jobs", {**job, "schedule": "now"}, expect=201)
    walk.ask_until(made["link"], status="SUCCESS")


def pull_queue(walk: Walk) -> None:
    chapter("Pull queue")
    job = {
        "id": "1",
        "queue": "my-queue",
        "timeout": 30,
        "max_retries": 0,
        "payload": "RAW JSON",
    }
    one = "queue=my-queue&job_id=1"
    walk.say("POST", "/enqueue", job, expect=202)
    walk.say("POST", "/enqueue", job, expect=409)
    walk.say("POST", "/enqueue/batch", [job, {**job, "id": "2"}], expect=202)
    walk.say("GET", "/v1/next?queue=my-queue&num_jobs=1")
    walk.say("PATCH", f"/v1/heartbeat?{one}", "RAW JSON", expect=202)
    walk.say("POST", "/reschedule", {**job, "state": "RAW JSON"}, expect=202)
    walk.say("GET", "/v1/next?queue=my-queue&num_jobs=10")
    walk.say("GET", "/v1/next?queue=my-queue", expect=204)
    walk.say("DELETE", f"/v1/complete?{one}")
    walk.say("DELETE", f"/v1/complete?{one}", expect=404)
    walk.say("DELETE", "/v1/complete?queue=my-queue&job_id=2")
    walk.say("GET", "/health")


def round_trip(walk: Walk, url: str, token: str) -> None:
    chapter("A cron job that feeds the pull queue")
    job = {
        "id": "feeder",
        # The token stands in the URL as the password of Basic authentication.
        "endpoint": url.replace("://", f"://scheduler:{token}@") + "/enqueue",
        "cron": "* * * * * *",
        "payload": {"id": "1", "queue": "fed", "timeout": 30, "payload": "say my name"},
        "retry_already_running": 1,
    }
    walk.say("POST", "/", job, expect=202)
    walk.take("fed")
    # While it is there, further ones are answered 409, and the job waits.
    walk.say("DELETE", "/complete?queue=fed&job_id=1")
    walk.take("fed")
    walk.say("DELETE", "/?job_id=feeder")

    chapter("The same without a detour: a task with a queue")
    soon = datetime.now(UTC) + timedelta(seconds=3)
    task = {
        "task_type": "one_time",
        "run_datetime": soon.isoformat(),
        "queue": "direct",
        "post_data": {"say": "my name"},
    }
    walk.say("POST", "/tasks/", task, expect=201)
    message = walk.take("direct")
    walk.say("DELETE", f"/complete?queue=direct&job_id={message['id']}")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--url", default="http://127.0.0.1:8000")
    parser.add_argument("--token", required=True)
    parser.add_argument(
        "--secret", required=True, help="the shared secret of a tenant, for the timers"
    )
    parser.add_argument(
        "--target",
        default="http://127.0.0.1:8001",
        help="where the jobs' requests go; the echo target, if nothing else is said",
    )
    options = parser.parse_args()
    if not urlsplit(options.url).hostname:
        parser.error("--url must be an absolute URL")

    walk = Walk(options.url, Authorization=f"Bearer {options.token}")
    tasks(walk, options.target)
    cron_jobs(walk, options.target)
    timers(Walk(options.url, **{"Scheduler-Secret": options.secret}))
    rest_jobs(walk, options.target)
    pull_queue(walk)
    round_trip(walk, options.url, options.token)
    print("\nAll answers were as expected.")


if __name__ == "__main__":
    main()
