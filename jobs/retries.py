"""When the queue tries again.

An attempt has failed, and `receiving.py` puts the job back. The queue knows best when its message
comes next; the job's row says the same, so that a page can count down.
"""

from datetime import timedelta

import broker.retry
from jobs.models import Job


def retry_delay(job: Job, retried: int) -> timedelta:
    """How long the queue waits after an attempt that failed; `retried` is 0 for the first."""
    expression = job.options.get("retry_delay", "")
    return timedelta(milliseconds=broker.retry.delay_ms(retried, expression, {}, 0))
