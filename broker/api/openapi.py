"""`GET /v2/openapi.json`: what this queue's HTTP interface offers, for people and for machines.

No message is concerned. The description stands in broker/api/description/, and is turned into
bytes once.
"""

import json

from django.http import HttpRequest, HttpResponse
from django.views.decorators.csrf import csrf_exempt

from broker.api.description import DESCRIPTION
from broker.api.requests import refuse

CONTENT = json.dumps(DESCRIPTION).encode()


@csrf_exempt
async def describe(request: HttpRequest) -> HttpResponse:
    """Answer the description, to anybody."""
    if request.method != "GET":
        return refuse(405, f"use GET, not {request.method}")
    return HttpResponse(CONTENT, content_type="application/json")
