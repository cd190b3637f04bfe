"""URL groups in the description, and the description itself."""

from broker.api.description.parts import (
    NAMED,
    TO_URL,
    Json,
    accepts,
    answers,
    array,
    done,
    named,
    operation,
    ref,
    text,
)

GROUP = named("The URL group", "my-group")


def endpoints(**item: list[str]) -> Json:
    """A body that names endpoints."""
    endpoint = {"type": "object", "properties": {"url": TO_URL, "name": NAMED}, **item}
    return accepts(
        {
            "type": "object",
            "properties": {"endpoints": array(endpoint, minItems=1)},
            "required": ["endpoints"],
        }
    )


PATHS: Json = {
    "/v2/topics": {
        "get": operation(
            "List URL groups", {200: answers("All groups, oldest first.", array(ref("UrlGroup")))}
        )
    },
    "/v2/topics/{name}": {
        "get": operation(
            "Look a URL group up",
            {200: answers("The group.", ref("UrlGroup"))},
            [404],
            parameters=[GROUP],
        ),
        "patch": operation(
            "Replace the options that its messages have by default",
            done("These are the options."),
            [404, 413],
            parameters=[GROUP],
            body=accepts(
                {
                    "type": "object",
                    "properties": {
                        "headers": {
                            "type": "object",
                            "additionalProperties": {"anyOf": [text(), array(text())]},
                            "example": {"Upstash-Retries": "3"},
                        }
                    },
                    "required": ["headers"],
                }
            ),
        ),
        "delete": operation(
            "Delete a URL group",
            done("The group is gone, if there was one."),
            parameters=[GROUP],
        ),
    },
    "/v2/topics/{name}/endpoints": {
        "post": operation(
            "Add endpoints or change them, by name, else by URL",
            done("The endpoints belong to the group, which is made if it is missing."),
            [412, 413],
            parameters=[GROUP],
            body=endpoints(required=["url"]),
        ),
        "delete": operation(
            "Remove endpoints by name or URL, and with the last one the group",
            done("The endpoints do not belong to the group."),
            [404, 413],
            parameters=[GROUP],
            body=endpoints(),
        ),
    },
    "/v2/openapi.json": {
        "get": {
            "summary": "This description",
            "security": [],
            "responses": {"200": answers("OpenAPI 3.1.", {"type": "object"})},
        }
    },
}
