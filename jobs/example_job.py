"""An example: the job that the strip shows before there is one.

No message passes here, and nothing is saved.
"""

from datetime import UTC, datetime

from jobs.interface import new_job
from jobs.models import Job
from jobs.signatures import current_site_url
from jobs.tasks import long_task

STARTED = datetime(2026, 1, 1, 12, tzinfo=UTC)


def example_job() -> Job:
    """A long_task after three of its ten steps, with the values that a real one would have."""
    site, second = current_site_url() or "https://jobs.example.com", int(STARTED.timestamp())
    job = new_job(long_task, [f"{site}/catcher/your-bin/"], {}, id="0123456789abcdef" * 2)
    job.created_at = job.started_at = job.last_attempted_at = STARTED
    job.messages = [{"id": "msg_example", "at": second}]
    job.log = [{"number": n, "at": second + n / 2, "text": "HTTP 200"} for n in (1, 2, 3)]
    job.received = {
        "headers": {"Upstash-Message-Id": "msg_example", "Upstash-Retried": "0"},
        "claims": {
            "iss": "Upstash",
            "sub": f"{site}/api/long-task",
            "exp": second + 300,
            "nbf": 0,
            "iat": second,
            "jti": "jwt_example",
            "body": "the SHA-256 of the body, in base64",
            "key": 0,
        },
    }
    return job
