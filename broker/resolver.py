"""Look up host names, and refuse private addresses.

A message has been claimed and its URL names a host. With BROKER_REFUSE_PRIVATE_ADDRESSES only
public addresses and the site's own are connected to. The check is made when the socket is
made, so it also holds for a name that resolves to another address the second time, and for
unusual ways to write 127.0.0.1.
"""

import asyncio
import errno
import socket
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from ipaddress import IPv4Address, IPv6Address, IPv6Network, ip_address
from typing import Any

from aiohttp.abc import AbstractResolver, ResolveResult
from django.conf import settings
from yarl import URL

type Lookup = Callable[..., list[tuple[Any, ...]]]
type Address = IPv4Address | IPv6Address

# A name server that does not answer blocks a thread for up to half a minute. The event loop's
# own pool might have only five of them, for everything.
LOOKUPS_AT_ONCE = 64
# What the kernel buffers for a connection, and so what is read at once: responses are short, and
# an endless one should neither fill the memory nor block the event loop while it is parsed.
RECEIVE_BYTES = 32 * 1024
# IPv4 addresses inside IPv6: https://www.rfc-editor.org/rfc/rfc6052#section-2.1
NAT64 = IPv6Network("64:ff9b::/96")


class PrivateAddress(OSError):
    """The address is not public, and BROKER_REFUSE_PRIVATE_ADDRESSES is set."""


class Resolver(AbstractResolver):
    """Look up names, and make the sockets to connect to their addresses."""

    def __init__(self, lookup: Lookup = socket.getaddrinfo) -> None:
        self.lookup = lookup
        self.threads = ThreadPoolExecutor(LOOKUPS_AT_ONCE, "lookup")
        self.own = own_hosts()

    async def resolve(
        self, host: str, port: int = 0, family: socket.AddressFamily = socket.AF_INET
    ) -> list[ResolveResult]:
        """Return the addresses of a name; OSError if it has none."""
        loop, kind, flags = asyncio.get_running_loop(), socket.SOCK_STREAM, socket.AI_ADDRCONFIG
        found = await loop.run_in_executor(
            self.threads, self.lookup, host, port, family, kind, 0, flags
        )
        if (host.lower(), port) in self.own:
            self.own |= {(address[0], port) for *_, address in found}
        numeric = socket.AI_NUMERICHOST | socket.AI_NUMERICSERV
        return [
            ResolveResult(
                hostname=host, host=address[0], port=port, family=kin, proto=proto, flags=numeric
            )
            for kin, _, proto, _, address in found
        ]

    async def close(self) -> None:
        self.threads.shutdown(wait=False, cancel_futures=True)

    def make_socket(self, info: tuple[Any, ...]) -> socket.socket:
        """Make a socket for an address as `getaddrinfo` describes it.

        PrivateAddress if it is private and may not be connected to.
        """
        family, kind, proto, _, (host, port, *_) = info
        guarded = settings.BROKER_REFUSE_PRIVATE_ADDRESSES and not settings.DEBUG
        if guarded and (host, port) not in self.own and not is_public(ip_address(host)):
            text = f"{host} is not a public address, and this queue delivers to no other"
            raise PrivateAddress(errno.EACCES, text)
        made = socket.socket(family, kind, proto)
        made.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, RECEIVE_BYTES)
        return made


def own_hosts() -> set[tuple[str, int]]:
    """Return the hosts and ports of this site."""
    if settings.PUBLIC_URL:
        url = URL(settings.PUBLIC_URL)
        return {((url.raw_host or "").lower(), url.port or 0)}
    return {(host, settings.PORT) for host in ("localhost", "127.0.0.1", "::1")}


def is_public(address: Address) -> bool:
    """Return whether an address is public; if it contains an IPv4 address, whether that is."""
    if isinstance(address, IPv6Address) and (inner := embedded(address)):
        return is_public(inner)
    return address.is_global and not (
        address.is_multicast or address.is_reserved or getattr(address, "is_site_local", False)
    )


def embedded(address: IPv6Address) -> IPv4Address | None:
    """Return the IPv4 address that an IPv6 one contains for routers, if any."""
    if address in NAT64:
        return IPv4Address(int(address) & 0xFFFFFFFF)
    return address.ipv4_mapped or address.sixtofour
