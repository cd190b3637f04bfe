"""Name the loop that a site runs into behind a TLS proxy that it has not been told about.

No message passes here. The proxy asks over plain HTTP, the site redirects to HTTPS, the browser
asks the proxy again, and so on. The site can tell from the proxy's own header.
"""

import logging

from django.http import HttpRequest

logger = logging.getLogger(__name__)


class LoopWarning:
    """Looks at each redirect to HTTPS; warns once a process."""

    def __init__(self) -> None:
        self.said = False

    def look(self, request: HttpRequest) -> None:
        """Warn if the request that is redirected to HTTPS came over HTTPS, as its proxy says."""
        if self.said or request.headers.get("X-Forwarded-Proto", "").lower() != "https":
            return
        self.said = True
        logger.warning(
            "redirect loop: set PROXIES to the number of proxies before the site",
            extra={"peer": request.META.get("REMOTE_ADDR"), "path": request.path},
        )


loop_warning = LoopWarning()
