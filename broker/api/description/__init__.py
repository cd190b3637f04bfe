"""What `/v2/` offers, in OpenAPI 3.1: one module per resource, put together here.

A client's author reads it, or a program does; no message passes through. It is data, built
once when the process starts, with the states, patterns and limits of the code that reads
requests. tests/broker/test_openapi.py compares it with the real routes.
https://spec.openapis.org/oas/v3.1.0.html
"""

from broker.api.description import (
    dead_letters,
    lanes,
    messages,
    publishing,
    schedules,
    shapes,
    url_groups,
)
from broker.api.description.parts import Json

DESCRIPTION: Json = {
    "openapi": "3.1.0",
    "info": {
        "title": "Embedded durable queue",
        "version": "2",
        "summary": "QStash's wire protocol, spoken by this site's own queue.",
        "description": (
            "Messages are published over HTTP, kept until they are delivered, signed, and "
            "retried. A destination is appended to the path as it is, with its own query, and "
            "not percent-encoded. Options are headers; each may also stand in the query, in "
            "lower case."
        ),
    },
    "servers": [{"url": "/"}],
    "security": [{"token": []}, {"tokenInQuery": []}],
    "paths": {
        **publishing.PATHS,
        **messages.PATHS,
        **dead_letters.PATHS,
        **lanes.PATHS,
        **schedules.PATHS,
        **url_groups.PATHS,
    },
    "components": {
        "schemas": shapes.SCHEMAS,
        "securitySchemes": {
            "token": {"type": "http", "scheme": "bearer"},
            "tokenInQuery": {"type": "apiKey", "in": "query", "name": "qstash_token"},
        },
    },
}
