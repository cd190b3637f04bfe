"""Why a request got no answer, in words that a visitor understands.

No message passes here. A task's request has failed, and its attempt with it: the page shows
this sentence, and the log has the exception.
"""

from urllib.parse import urlsplit


def in_words(error: Exception, url: str) -> str:
    """Say what an exception of aiohttp's means for a request to `url`."""
    import aiohttp  # here, as in tasks.py

    # The more special before the more general.
    sentences: list[tuple[tuple[type[Exception], ...], str]] = [
        ((aiohttp.ClientConnectorDNSError,), "there is no host called {host}"),
        ((aiohttp.ClientConnectorCertificateError,), "the certificate of {host} is not valid"),
        ((aiohttp.ClientSSLError,), "{host} does not speak HTTPS as it should"),
        ((aiohttp.ClientConnectorError,), "nothing answers at {host}"),
        ((aiohttp.ClientPayloadError,), "{host} hung up in the middle of its answer"),
        ((aiohttp.ClientResponseError,), "the answer of {host} is not HTTP"),
        ((aiohttp.ClientConnectionError, OSError), "{host} hung up without an answer"),
    ]
    host = host_of(url)
    if not host or isinstance(error, aiohttp.InvalidURL):
        return f"{url} is not an address that a request can be sent to"
    for kinds, words in sentences:
        if isinstance(error, kinds):
            return words.format(host=host)
    return f"the request to {host} failed"


def host_of(url: str) -> str:
    """`host:port`, or the host alone if the URL names no port; empty if it is none."""
    try:
        parts = urlsplit(url)
        return parts.netloc.rpartition("@")[2] if parts.hostname and parts.port != 0 else ""
    except ValueError:
        return ""
