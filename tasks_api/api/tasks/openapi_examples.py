"""Examples of tasks in the OpenAPI document."""

from __future__ import annotations

ID = "5das76nbv950nghg8j8-33ddd3kfdw2"
POST_DATA = {
    "campaign_name": "SMS Campaign",
    "phone_number": "09230862348",
    "smart_list_id": 123456,
    "content": "text to be sent as sms",
}
INTERVAL = {
    "frequency": 3601,
    "task_type": "interval",
    "start_datetime": "2035-12-05T08:00:00-05:00",
    "end_datetime": "2036-01-05T08:00:00-05:00",
    "url": "https://example.com/sms/send/",
    "post_data": POST_DATA,
}
PERIODIC = {
    "frequency": 3601,
    "task_type": "periodic",
    "start_datetime": "2035-12-05 08:00:00",
    "end_datetime": "2036-01-05 08:00:00",
    "url": "https://example.com/sms/send/",
    "post_data": POST_DATA,
}
ONE_TIME = {
    "task_type": "one_time",
    "run_datetime": "2035-12-05 08:00:00",
    "url": "https://example.com/sms/send/",
    "post_data": POST_DATA,
}
WITH_POLICIES = {
    "task_type": "periodic",
    "cron": "0 3 * * *",
    "timezone": "Europe/Berlin",
    "url": "https://example.com/report",
    "method": "PUT",
    "headers": {"X-Api-Key": "s3cret"},
    "body": {"kind": "daily"},
    "timeout_seconds": 120,
    "expected_status": "200-299",
    "retry": {"max_attempts": 5, "min_delay": 10, "max_delay": 600},
    "overlap": "queue_one",
    "misfire": "latest",
    "catchup_window": 3600,
    "spread": 300,
    "dst": {"gap": "skip", "overlap": "first"},
}
WITH_RRULE = {
    "task_type": "periodic",
    "rrule": "DTSTART;TZID=Europe/Berlin:20351201T090000\nRRULE:FREQ=MONTHLY;BYDAY=-1FR",
    "url": "https://example.com/report",
}
WITH_SCHEDULES = {
    "task_type": "periodic",
    "schedules": [
        {"cron": "0 9 * * MON-FRI", "timezone": "Europe/Berlin"},
        {"cron": "0 11 * * SAT", "timezone": "Europe/Berlin"},
    ],
    "url": "https://example.com/report",
}
STORED = {
    "id": ID,
    "url": "https://example.com/sms/send/",
    "task_type": "periodic",
    "post_data": {**POST_DATA, "other_param1": "abc", "other_param2": 123},
    "frequency": 3601,
    "start_datetime": "2035-11-05 08:00:00",
    "end_datetime": "2035-12-05 08:00:00",
    "next_run_datetime": "2035-11-06 08:00:00",
}
IDS = {
    "ids": [
        "fasdff12n22m2jnr5n6skf",
        "ascv3h5k1j43k6k8k32k345jmn",
        "123n23n4n43m2kkcj53vdsxc",
    ]
}
