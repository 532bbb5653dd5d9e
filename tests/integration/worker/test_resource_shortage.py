"""What this machine lacks is no answer of a target: the run is sent later, or elsewhere."""

from __future__ import annotations

import json
import subprocess
import sys

import pytest
from django.conf import LazySettings
from django.utils import timezone

from accounts.models import User
from tasks_api.delivery import descriptors
from tasks_api.delivery.request import HttpResult
from tasks_api.delivery.retry import Release, judge
from tasks_api.domain.schedules import Once
from tasks_api.domain.states import Trouble
from tasks_api.models import Run
from tasks_api.worker.engine import Engine
from tasks_api.worker.record import AttemptResult
from tests.integration.conftest import ResultLog
from tests.integration.support.attempt_results import attempt_result
from tests.integration.support.stored_tasks import store_task, take_waiting
from tests.receiver import Receiver

SENDER = """
import json, resource, sys, threading
limit = int(sys.argv[2])
from tasks_api.delivery.request import Request
from tasks_api.delivery.transport import Transport, TransportOptions
resource.setrlimit(resource.RLIMIT_NOFILE, (limit, limit))
outcomes, is_over = [], threading.Event()
def on_done(key, outcome):
    outcomes.append([outcome.status_code, outcome.was_sent, outcome.trouble])
    if len(outcomes) == 150:
        is_over.set()
transport = Transport(on_done, TransportOptions(allow_private=True, max_per_host=1000))
transport.start()
for key in range(150):
    transport.send(key, Request("POST", sys.argv[1], (), b"{}", 20.0))
assert is_over.wait(60)
transport.close(grace=1)
print(json.dumps(outcomes))
"""


@pytest.mark.parametrize("host", ["127.0.0.1", "localhost"])
def test_a_request_for_which_no_socket_is_left_is_given_back_unsent(
    receiver: Receiver, host: str
) -> None:
    receiver.answer("/slow", delay=1.0)
    url = receiver.url.replace("127.0.0.1", host) + "/slow"

    done = subprocess.run(
        [sys.executable, "-c", SENDER, url, "64"], capture_output=True, text=True
    )

    outcomes = json.loads(done.stdout or done.stderr)
    answered = [each for each in outcomes if each[0] == 200]
    given_back = [each for each in outcomes if each == [None, False, "local trouble"]]
    assert len(answered) + len(given_back) == 150
    assert len(answered) == len(receiver.requests)
    assert answered
    assert given_back


def test_a_local_shortage_is_no_failure_of_a_target() -> None:
    item: AttemptResult = attempt_result(HttpResult(200, "", 1))
    starved = HttpResult(None, "x", 0, was_sent=False, trouble=Trouble.LOCAL)

    assert judge(starved, item.run, now=timezone.now()) == Release(reason="Waits: x.")


@pytest.mark.django_db(transaction=True)
def test_memory_that_is_short_after_a_batch_is_taken_costs_no_attempt(
    user: User, receiver: Receiver, settings: LazySettings, recorded: ResultLog
) -> None:
    settings.SCHEDULER_ALLOW_PRIVATE_TARGETS = True
    # The one thing that sending needs and a test can make fail like that.
    settings.SCHEDULER_PUBLIC_URL = _UnstrippableString("http://here")
    engine = Engine(on_recorded=recorded, on_beat=lambda _: None)
    for _ in range(3):
        task = store_task(user, Once(timezone.now()), receiver.url + "/hook")
        task.request = '{"form": null, "header_names": [], "deadline": 60}'
        task.save()

    engine.start()
    recorded.wait_for(3)
    engine.stop(grace=1)

    runs = Run.objects.all()
    assert {(r.state, r.attempt_count, r.lost_count) for r in runs} == {
        ("pending", 0, 0)
    }
    assert len(take_waiting()) == 3


class _UnstrippableString(str):
    def rstrip(self, *_args: object) -> str:
        raise MemoryError


LIMITED = """
import resource, sys
soft, hard, wanted = map(int, sys.argv[1:])
resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
from tasks_api.delivery import descriptors
print(descriptors.raise_file_limit(wanted), resource.getrlimit(resource.RLIMIT_NOFILE)[0])
"""


def limit_files(soft: int, hard: int, wanted: int) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-c", LIMITED, str(soft), str(hard), str(wanted)],
        capture_output=True,
        text=True,
    )


@pytest.mark.parametrize(
    ("soft", "hard", "wanted", "expected"),
    [(2000, 2000, 1000, "1000 2000"), (256, 4096, 1000, "1000 1200")],
)
def test_the_limit_of_open_files_is_raised_as_far_as_it_may_be(
    soft: int, hard: int, wanted: int, expected: str
) -> None:
    assert limit_files(soft, hard, wanted).stdout.strip() == expected


def test_too_low_a_limit_of_open_files_lowers_what_a_worker_sends_at_once() -> None:
    done = limit_files(300, 400, 1000)

    assert done.stdout.strip() == f"{400 - descriptors.RESERVED_FILES} 400"
    assert "SCHEDULER_MAX_IN_FLIGHT is 1000, and counts as 200" in done.stderr


def test_a_limit_of_open_files_that_leaves_no_request_is_refused() -> None:
    done = limit_files(100, 150, 1000)

    assert done.returncode != 0
    assert done.stderr.startswith("This process may open 150 files and needs 201")
