"""The parts of which each operation of the description is made.

Names, states, patterns and limits are those of the code that reads requests, never copies.
"""

from collections.abc import Iterable
from typing import Any

from broker.errors import LimitReached, NotFound, Rejected, TooLarge
from broker.options import NAME, SCHEMES

type Json = dict[str, Any]

ERRORS = {
    Rejected.status: "Something asked for is wrong; `error` names it.",
    401: "There is no token, or it is unknown.",
    403: "The token may only read, or this is not allowed here, or not from a web page.",
    NotFound.status: "There is nothing of this name or id.",
    LimitReached.status: "The account has as many of these as it may have.",
    TooLarge.status: "The body is larger than the settings allow.",
}
ALWAYS = (400, 401, 403)


def ref(name: str) -> Json:
    """One of `shapes.SCHEMAS`."""
    return {"$ref": f"#/components/schemas/{name}"}


def text(description: str = "", **more: Any) -> Json:
    return {"type": "string", **described(description), **more}


def one_of(values: Iterable[str]) -> Json:
    """A text that is one of these."""
    return text(enum=list(dict.fromkeys(values)))


def matching(*patterns: str) -> Json:
    """A text that one of these patterns matches from its beginning to its end."""
    return text(pattern=f"^({'|'.join(patterns)})$")


def whole(description: str = "", **more: Any) -> Json:
    """A whole number, 0 or more unless it says otherwise."""
    return {"type": "integer", "minimum": 0, **described(description), **more}


def flag(description: str = "") -> Json:
    return {"type": "boolean", **described(description)}


def array(items: Json, **more: Any) -> Json:
    return {"type": "array", "items": items, **more}


def described(description: str) -> Json:
    return {"description": description} if description else {}


URL = f"({'|'.join(SCHEMES)})://.+"
NAMED, TO_URL = matching(NAME.pattern), matching(URL)
TO_URL_OR_GROUP = matching(URL, NAME.pattern)


def record(required: Json, **optional: Any) -> Json:
    """An object of exactly these fields."""
    return {
        "type": "object",
        "properties": required | optional,
        "required": list(required),
        "additionalProperties": False,
    }


def in_path(name: str, description: str, example: str, schema: Json | None = None) -> Json:
    return {
        "name": name,
        "in": "path",
        "required": True,
        "description": description,
        "schema": schema or text(),
        "example": example,
    }


def in_query(name: str, description: str, schema: Json | None = None) -> Json:
    return {"name": name, "in": "query", "description": description, "schema": schema or text()}


def in_header(name: str, description: str, schema: Json | None = None, **more: Any) -> Json:
    return {
        "name": name,
        "in": "header",
        "description": description,
        "schema": schema or text(),
        **more,
    }


def named(what: str, example: str, name: str = "name") -> Json:
    """A path's part that names a queue, URL group or schedule."""
    return in_path(name, f"{what}.", example, NAMED)


def accepts(schema: Json, *, required: bool = True) -> Json:
    """A JSON body."""
    return {"required": required, "content": {"application/json": {"schema": schema}}}


def answers(description: str, schema: Json) -> Json:
    """A JSON answer."""
    return {"description": description, "content": {"application/json": {"schema": schema}}}


def operation(
    summary: str,
    success: dict[int, Json],
    errors: Iterable[int] = (),
    *,
    parameters: Iterable[Json] = (),
    body: Json | None = None,
) -> Json:
    """One method of a path: its successful answers, and the errors that not all have."""
    refusals = {status: answers(ERRORS[status], ref("Error")) for status in {*ALWAYS, *errors}}
    responses = {str(status): answer for status, answer in sorted((success | refusals).items())}
    told: Json = {"summary": summary, "responses": responses}
    if parameters := list(parameters):
        told["parameters"] = parameters
    if body:
        told["requestBody"] = body
    return told


def done(description: str) -> dict[int, Json]:
    """The answer to a change that has nothing to tell."""
    return {200: answers(description, ref("Nothing"))}
