"""`{% strip job attempts %}`: the strip for a template whose view has made none.

No message passes here.
"""

from typing import Any

from django import template

from jobs.models import Job
from jobs.strip import Strip

register = template.Library()


@register.inclusion_tag("jobs/strip.html")
def strip(job: Job | None = None, attempts: Any = ()) -> dict[str, Any]:
    """A job's strip; an example if there is no job."""
    return {"strip": Strip(job or None, attempts or ())}
