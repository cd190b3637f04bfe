"""Look up host names, and refuse private addresses.

A message has been claimed and its URL names a host. With BROKER_REFUSE_PRIVATE_ADDRESSES only
public addresses and the site's own are connected to. Addresses are checked, not names, so the
check also holds for a name that resolves to another address the second time, and for unusual
ways to write 127.0.0.1.
"""

import asyncio
import socket
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from functools import lru_cache
from ipaddress import IPv4Address, IPv6Address, IPv6Network, ip_address
from typing import Any

from django.conf import settings
from yarl import URL

# What `socket.getaddrinfo` returns: (family, type, protocol, canonical name, socket address).
type AddressInfo = tuple[Any, ...]
type Lookup = Callable[..., list[AddressInfo]]
type Address = IPv4Address | IPv6Address

# A name server that does not answer blocks a thread for up to half a minute. The event loop's
# own pool might have only five of them, for everything.
LOOKUPS_AT_ONCE = 64
# A thousand messages to one host are one lookup.
REMEMBERED_SECONDS, MOST_REMEMBERED = 10.0, 1000
# IPv4 addresses inside IPv6: https://www.rfc-editor.org/rfc/rfc6052#section-2.1
NAT64 = IPv6Network("64:ff9b::/96")


class PrivateAddress(OSError):
    """The address is not public, and BROKER_REFUSE_PRIVATE_ADDRESSES is set."""


class Resolver:
    """Look up host names, and remember for ten seconds what was found."""

    def __init__(self, lookup: Lookup = socket.getaddrinfo) -> None:
        self.lookup = lookup
        self.threads = ThreadPoolExecutor(LOOKUPS_AT_ONCE, "lookup")
        self.own = own_hosts()
        self.lookups: dict[tuple[str, int], tuple[float, asyncio.Future[list[AddressInfo]]]] = {}

    async def resolve(self, host: str, port: int) -> list[AddressInfo]:
        """Return the addresses of a host that may be connected to.

        OSError if it has none, PrivateAddress if they are all private.
        """
        # Others wait for the same lookup, so it goes on when this attempt is over.
        addresses = numeric(host, port) or await asyncio.shield(self.looked_up(host, port))
        is_guarded = settings.BROKER_REFUSE_PRIVATE_ADDRESSES and not settings.DEBUG
        if not is_guarded or (host.lower(), port) in self.own:
            return addresses
        found = [info for info in addresses if is_public(ip_address(info[4][0]))]
        if not found:
            address = addresses[0][4][0]
            text = f"{address} is not a public address, and this queue delivers to no other"
            raise PrivateAddress(text)
        return found

    def looked_up(self, host: str, port: int) -> "asyncio.Future[list[AddressInfo]]":
        """Start to look a host up, unless that is under way or has just been done."""
        now = time.monotonic()
        since, found = self.lookups.get((host, port), (now, None))
        is_old = now - since > REMEMBERED_SECONDS
        if found is None or has_failed(found) or (is_old and found.done()):
            if len(self.lookups) >= MOST_REMEMBERED:
                self.lookups.clear()
            loop, kind, flags = asyncio.get_running_loop(), socket.SOCK_STREAM, socket.AI_ADDRCONFIG
            found = loop.run_in_executor(self.threads, self.lookup, host, port, 0, kind, 0, flags)
            found.add_done_callback(has_failed)  # else asyncio logs an error nobody awaits
            self.lookups[host, port] = now, found
        return found

    def close(self) -> None:
        self.threads.shutdown(wait=False, cancel_futures=True)


@lru_cache(100)
def numeric(host: str, port: int) -> list[AddressInfo]:
    """Return the address if the host is written as one: no name server has to be asked."""
    if "%" in host:
        return []  # the system knows whether it has such an interface
    try:
        family = socket.AF_INET if ip_address(host).version == 4 else socket.AF_INET6
    except ValueError:
        return []
    return [(family, socket.SOCK_STREAM, socket.IPPROTO_TCP, "", (host, port))]


def has_failed(lookup: "asyncio.Future[list[AddressInfo]]") -> bool:
    return lookup.done() and (lookup.cancelled() or lookup.exception() is not None)


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
