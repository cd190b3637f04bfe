"""What the log's lines belong to: the request, the job, the message.

No message passes here. Who begins to work for one of them says so, and every line that is logged
from then on has it as a field, whoever writes it: until the request or the coroutine's task ends.
"""

from collections.abc import Mapping
from contextvars import ContextVar
from types import MappingProxyType
from typing import Any

NONE: Mapping[str, Any] = MappingProxyType({})
log_fields: ContextVar[Mapping[str, Any]] = ContextVar("log_fields", default=NONE)


def belongs_to(**fields: Any) -> dict[str, Any]:
    """Have all further lines of this context written with these fields too, and return them."""
    log_fields.set({**log_fields.get(), **fields})
    return fields
