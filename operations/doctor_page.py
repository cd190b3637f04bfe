"""The doctor's page, for the operator: a button, and what the doctor has found.

No message passes here. Checks run when the button is pressed, not when a page is loaded, and the
event loop meanwhile answers the requests that they make.
"""

from typing import Any

from django.conf import settings
from django.http import HttpRequest, HttpResponse
from django.views.decorators.http import require_http_methods

from console.serving import page, show
from jobs.signatures import site_url
from operations.findings import OK, PROBLEM

# How a result is drawn: with the icon and hue of a job's state.
DRAWN = {OK: "succeeded", PROBLEM: "failed"}


@require_http_methods(["GET", "HEAD", "POST"])
@page
async def doctor(request: HttpRequest) -> HttpResponse:
    """The button; after a POST, the findings, asked for at the address that the operator uses."""
    context: dict[str, Any] = {"address": site_url(request)}
    if request.method == "POST":
        from operations.doctor import examine, healthy  # here: 0.01 s, for few visitors

        findings = await examine(settings.PUBLIC_URL or site_url(request))
        context["healthy"] = healthy(findings)
        context["findings"] = [(each, DRAWN.get(each.state, "waiting")) for each in findings]
    return await show(request, "console/doctor.html", context)
