"""Tell the story of one task to a running service, through its Python client.

It is previewed over a change of the clock, made, run, fails, is tried again, is sent
again, fires, and in the end its account is drawn up. The target is this program itself.
"""

from __future__ import annotations

import argparse
import os
import queue
import sys
import threading
import time
from datetime import UTC, datetime

from scheduler_client import Client, Run, formatting
from scheduler_client.receiver import ReceivedRequest, ResponsePolicy, WebhookReceiver

PATIENCE = 30.0  # seconds until what has not happened counts as lost
NAME = "story/nightly"
TASK = {
    "task_type": "periodic",
    "cron": "30 2 * * *",
    "timezone": "Europe/Berlin",
    "dst": {"overlap": "both"},
    "post_data": {"hello": "world"},
    "retry": {"max_attempts": 2, "min_delay": 1, "max_delay": 1},
    "tags": ["story"],
}


class Target:
    """What the task calls: a receiver that verifies, prints, and answers as it is told."""

    def __init__(self, secret: str | None) -> None:
        self.policy = ResponsePolicy()
        self._requests: queue.Queue[ReceivedRequest] = queue.Queue()
        receiver = WebhookReceiver(
            "127.0.0.1",
            0,
            secrets=[secret] if secret else [],
            policy=self.policy,
            on_request=self._receive,
        )
        self.url = receiver.url
        threading.Thread(target=receiver.serve_forever, daemon=True).start()

    def _receive(self, request: ReceivedRequest) -> None:
        print(f"    target: {request.to_line()}")
        self._requests.put(request)

    def wait(self) -> None:
        try:
            request = self._requests.get(timeout=PATIENCE)
        except queue.Empty:
            sys.exit("Nothing arrived.")
        expect(request.signature in ("ok", "unchecked"), "a genuine signature")


def chapter(title: str) -> None:
    print(f"\n=== {title} ===\n")


def expect(is_so: bool, what: str) -> None:
    if not is_so:
        sys.exit(f"Expected {what}.")


def ended(client: Client, run_id: str) -> Run:
    """A run, once it is over; printed with its attempts."""
    deadline = time.monotonic() + PATIENCE
    while time.monotonic() < deadline:
        run = client.get_run(run_id)
        if run.finished_at:
            print("\n".join(formatting.format_run(run)))
            return run
        time.sleep(0.2)
    sys.exit(f"The run {run_id} did not end.")


def tell(client: Client, target: Target) -> None:
    began = datetime.now(UTC)
    task = {**TASK, "url": f"{target.url}/nightly"}

    chapter("Before it exists: when would it fire, when clocks change?")
    for month, day in ((3, 27), (10, 30)):
        eve = datetime(2027, month, day, 12, tzinfo=UTC)
        found = client.preview_task(task, since=eve, n=3)
        print("\n".join(formatting.format_fire_times(found)))
        marks = [each.dst for each in found.fire_times]
        expected = ["moved"] if month == 3 else ["doubled", "doubled"]
        expect(marks[: len(expected)] == expected, f"{expected}, not {marks}")

    chapter("It is created, under a name; saying it again changes nothing")
    made = client.put_task_by_name(NAME, task)
    expect(client.put_task_by_name(NAME, task) == made, "the same task")
    print("\n".join(formatting.format_tasks([made])))

    chapter("It runs, because somebody asks for it")
    run_id = client.run_task(made)
    target.wait()
    expect(ended(client, run_id).state == "succeeded", "a success")

    chapter("Its target breaks: it is tried again, and fails")
    target.policy.status = 503
    failed_id = client.run_task(made)
    target.wait()
    target.wait()
    failed = ended(client, failed_id)
    expect(failed.state == "failed", "a failure")
    expect([a.status_code for a in failed.attempts] == [503, 503], "two attempts")

    chapter("The target is well again, and the run is sent again")
    target.policy.status = 200
    again = ended(client, client.redrive_run(failed_id))
    target.wait()
    expect(again.state == "succeeded", "a success")
    expect(again.redrive_of == failed_id, "a redrive of the failed run")

    chapter("It is declared anew, every other second: first the plan, then the deed")
    wanted = [{**task, "name": NAME, "cron": "*/2 * * * * *", "dst": None}]
    plan = client.plan_tasks("story", wanted)
    print("\n".join(formatting.format_plan(plan)))
    expect(plan.steps[0].action == "change", "a change")
    client.apply_tasks("story", wanted, plan=plan)
    expect(not client.plan_tasks("story", wanted).has_changes, "nothing more to do")
    for _ in range(3):
        target.wait()
    client.pause_task(made.id)

    chapter("The account: what was planned, and what became of it")
    account = client.get_account(made.id, since=began)
    print("\n".join(formatting.format_account(account)))
    print()
    print("\n".join(formatting.format_runs(client.list_runs(made.id))))
    expect(account.planned >= 3, "three fire times or more")
    expect(account.manual == 3, "two runs by hand and a redrive")
    expect(account.balance == 0 and not account.differences, "a sum of zero")

    client.remove_task_by_name(NAME)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    url = os.environ.get("SCHEDULER_URL", "http://127.0.0.1:8000")
    token = os.environ.get("SCHEDULER_TOKEN")
    parser.add_argument("--url", default=url)
    parser.add_argument("--token", default=token, required=not token)
    parser.add_argument("--secret", help="whsec_…, to verify what arrives")
    options = parser.parse_args()
    with Client(options.url, options.token) as client:
        tell(client, Target(options.secret))
    print("\nEverything was as expected.")


if __name__ == "__main__":
    main()
