"""`GET /v2/openapi.json`: the description of this queue's HTTP interface.

No message is concerned. The description is in broker/api/description/, and becomes bytes once.
"""

import json
from functools import cache

from django.http import HttpRequest, HttpResponse
from django.views.decorators.csrf import csrf_exempt

from broker.api.requests import refuse


@cache
def content() -> bytes:
    """The description, put together when it is asked for."""
    from broker.api.description import DESCRIPTION  # here: 0.005 s, for a program now and then

    return json.dumps(DESCRIPTION).encode()


@csrf_exempt
async def describe(request: HttpRequest) -> HttpResponse:
    """Answer the description, without a token."""
    if request.method != "GET":
        return refuse(405, f"use GET, not {request.method}")
    return HttpResponse(content(), content_type="application/json")
