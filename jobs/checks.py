"""What must be right before the first message is published, checked before the site starts.
https://docs.djangoproject.com/en/6.1/topics/checks/
"""

from typing import Any

from django.conf import settings
from django.core.checks import CheckMessage, Error, register

from jobs.qstash import PublishError, repaired_qstash_url


@register()
def hosted_queue_is_configured(app_configs: Any, **kwargs: Any) -> list[CheckMessage]:
    """A QStash token needs both signing keys and a usable URL beside it."""
    if settings.QUEUE_BACKEND != "hosted":
        return []
    errors: list[CheckMessage] = [
        Error(
            f"QSTASH_TOKEN is set but {name} is not.",
            hint="Copy it from the QStash console, under Signing Keys. Without both keys the "
            "site would refuse every message that QStash delivers.",
            id=f"jobs.E00{number}",
        )
        for number, name in enumerate(
            ["QSTASH_CURRENT_SIGNING_KEY", "QSTASH_NEXT_SIGNING_KEY"], start=1
        )
        if not getattr(settings, name)
    ]
    try:
        repaired_qstash_url(settings.QSTASH_URL)
    except PublishError as error:
        errors.append(Error(str(error), id="jobs.E003"))
    return errors
