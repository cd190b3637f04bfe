"""`GET /v2/openapi.json`: the description of this queue's HTTP interface.

No message is concerned. The description is in broker/api/description/, and becomes bytes once.
"""

import json

from django.http import HttpRequest, HttpResponse
from django.views.decorators.csrf import csrf_exempt

from broker.api.description import DESCRIPTION
from broker.api.requests import refuse

CONTENT = json.dumps(DESCRIPTION).encode()


@csrf_exempt
async def describe(request: HttpRequest) -> HttpResponse:
    """Answer the description, without a token."""
    if request.method != "GET":
        return refuse(405, f"use GET, not {request.method}")
    return HttpResponse(CONTENT, content_type="application/json")
