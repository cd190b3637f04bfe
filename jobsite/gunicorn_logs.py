"""gunicorn's own lines, the access log's among them, in the site's format.

No message passes here. gunicorn.conf.py names this class if LOG_FORMAT is json.
"""

from typing import Any, override

from gunicorn import glogging

from jobsite.logs import JsonFormatter
from logfields import log_fields


class JsonLogger(glogging.Logger):  # type: ignore[misc]  # gunicorn has no types
    """gunicorn's logger, one JSON object a line."""

    @override
    def setup(self, cfg: Any) -> None:
        super().setup(cfg)
        for logger in (self.error_log, self.access_log):
            for handler in logger.handlers:
                handler.setFormatter(JsonFormatter())

    @override
    def access(self, resp: Any, *others: Any) -> None:
        """Write a request's line, with the id that its answer has."""
        headers = {name.lower(): value for name, value in resp.headers}
        log_fields.set({"request_id": headers.get("x-request-id", "")})
        super().access(resp, *others)
