"""Which network addresses a URL that somebody else wrote may lead to."""

from collections.abc import Collection
from ipaddress import IPv4Address, IPv6Address, IPv6Network, ip_address, ip_network

from reconciler.transport import Forbidden, Vet

_NAT64 = IPv6Network("64:ff9b::/96")
_UNICAST = IPv6Network("2000::/3")
_SPECIAL = tuple(
    ip_network(network)
    for network in (
        "192.0.0.0/24",  # protocol assignments, and a cloud's metadata
        "168.63.129.16/32",  # Azure's host, from inside a virtual machine
        "192.88.99.0/24",  # 6to4 relays, withdrawn
        "3fff::/20",  # documentation
    )
)


def is_public(address: str) -> bool:
    """Reachable for everybody on the Internet. One inside another (mapped, translated, tunnelled) counts."""
    try:
        parsed = _innermost(ip_address(address))
    except ValueError:
        return False
    if any(parsed in network for network in _SPECIAL) or parsed.is_multicast:
        return False
    return parsed.is_global and (isinstance(parsed, IPv4Address) or parsed in _UNICAST)


def vetting(insecure_hosts: Collection[str]) -> Vet:
    """For the transport, which asks at the moment of connecting, of every address that a name has then.

    `insecure_hosts` may be on loopback as well, and nowhere else that is not public.
    """
    trusted = frozenset(_bare(host) for host in insecure_hosts)

    def vet(host: str, address: str) -> None:
        if not (is_public(address) or (_bare(host) in trusted and _is_loopback(address))):
            raise Forbidden(f"{host} is at {address}, which is no public address")

    return vet


def _innermost(address: IPv4Address | IPv6Address) -> IPv4Address | IPv6Address:
    if isinstance(address, IPv4Address):
        return address
    if address in _NAT64:
        return IPv4Address(int(address) & 0xFFFFFFFF)
    return address.ipv4_mapped or address.sixtofour or address


def _is_loopback(address: str) -> bool:
    try:
        return _innermost(ip_address(address)).is_loopback
    except ValueError:
        return False


def _bare(host: str) -> str:
    return host.lower().strip("[]").removesuffix(".")
