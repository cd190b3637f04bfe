"""What stands for an address where something is counted by address.

No message passes here. It is apart from `access.py`, and imports no model, because the queue that
runs alone counts too and has no console.
"""

from ipaddress import IPv6Address, IPv6Network, ip_address


def network_of(address: str) -> str:
    """What stands for an address when it is counted: of IPv6, the /64 that one customer has."""
    try:
        found = ip_address(address)
    except ValueError:
        return "unknown"
    if isinstance(found, IPv6Address):
        return str(found.ipv4_mapped or IPv6Network((int(found) >> 64 << 64, 64)))
    return str(found)
