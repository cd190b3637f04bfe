"""Where this site is, as the queue and the target see it.

A message is told here where it will be delivered, and the receiver asks here which URL it
must have been signed for: both must say the same.
"""

from django.conf import settings
from django.http import HttpRequest


def site_url(request: HttpRequest) -> str:
    """`https://jobs.example.com`: PUBLIC_URL, or the validated host of the request.

    A proxy may rewrite a request's host and scheme, so what PUBLIC_URL says comes first.
    """
    return settings.PUBLIC_URL or f"{request.scheme}://{request.get_host()}"
