"""`{% strip job attempts %}` and `{% strip_news job attempts %}`: for a template whose view has
made no strip.

No message passes here.
"""

from typing import Any

from django import template
from django.conf import settings
from django.utils.safestring import mark_safe

from jobs.models import Job
from jobs.strip import Strip, steps_fragment, strip_fragment
from jobs.views import target_for

register = template.Library()


@register.inclusion_tag("jobs/strip.html")
def strip(job: Job | None = None, attempts: Any = ()) -> dict[str, Any]:
    """A job's strip; an example if there is no job."""
    return {"strip": Strip(job or None, attempts or ())}


@register.simple_tag(takes_context=True)
def own_bin(context: template.Context) -> str:
    """The name of the visitor's bin; empty if the requests of jobs go elsewhere."""
    return "" if settings.LONG_TASK_TARGET_URL else target_for(context["request"]).split("/")[-2]


@register.simple_tag
def strip_news(job: Job, attempts: Any = (), code: bool = True) -> str:
    """The parts of a job's strip, for a page that shows one already."""
    return mark_safe(strip_fragment(job, attempts or (), code=code))  # noqa: S308  a template has made it


@register.simple_tag
def strip_step_news(job: Job, shown: int) -> str:
    """The parts that change with a step, for a page that shows so many of the steps."""
    return mark_safe(steps_fragment(job, shown))  # noqa: S308  a template has made it


@register.filter
def task_name(job: Job) -> str:
    """The name of a job's function."""
    return job.task.rpartition(".")[2]
