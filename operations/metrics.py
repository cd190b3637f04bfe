"""`/metrics`: what Prometheus is told, if it knows the token.

No message passes here. The site and `manage.py broker` serve the same view.
"""

import asyncio
from concurrent.futures import ThreadPoolExecutor

from django.conf import settings
from django.http import Http404, HttpRequest, HttpResponse
from django.utils.crypto import constant_time_compare
from django.views.decorators.cache import never_cache
from django.views.decorators.http import require_safe

CONTENT_TYPE = "text/plain; version=0.0.4; charset=utf-8"
# A thread of its own: a count may take a while, and pages wait for the one that Django shares.
thread = ThreadPoolExecutor(1, thread_name_prefix="metrics")


@never_cache
@require_safe
async def metrics(request: HttpRequest) -> HttpResponse:
    """All metrics as Prometheus reads them. 404 without METRICS_TOKEN, 401 for a wrong one."""
    if not settings.METRICS_TOKEN:
        raise Http404
    scheme, _, token = request.headers.get("Authorization", "").partition(" ")
    right = constant_time_compare(token.strip(), settings.METRICS_TOKEN)
    if scheme.lower() != "bearer" or not right:
        headers = {"WWW-Authenticate": "Bearer"}
        return HttpResponse("wrong token\n", "text/plain", 401, headers=headers)
    from operations.scraping import scrape  # prometheus_client, only where it is wanted

    folder, loop = settings.METRICS_FOLDER, asyncio.get_running_loop()
    text = await loop.run_in_executor(thread, scrape, folder)
    return HttpResponse(b"" if request.method == "HEAD" else text, CONTENT_TYPE)
