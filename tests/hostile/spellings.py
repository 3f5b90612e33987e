"""Every way to write an address where we may not ask."""

from collections.abc import Iterator
from ipaddress import IPv4Address, IPv6Address

FORBIDDEN_V4 = (
    *("127.0.0.1", "127.255.255.254", "0.0.0.0", "10.0.0.1", "172.16.0.1", "172.31.255.254", "192.168.1.1"),
    *("169.254.169.254", "100.64.0.1", "100.100.100.200", "192.0.0.192", "168.63.129.16", "198.18.0.1"),
    *("224.0.0.1", "239.255.255.250", "240.0.0.1", "255.255.255.255"),
)
FORBIDDEN_V6 = (
    *("::", "::1", "fe80::1", "febf::1", "fec0::1", "fc00::1", "fd00:ec2::254", "ff02::1", "100::1", "2001:db8::1"),
    *("2001::1", "2001:10::1", "2001:20::1", "64:ff9b:1::1", "3fff::1", "5f00::1"),
)
"""Loopback, link-local, site-local, unique local, multicast, discard, documentation, Teredo, ORCHID, NAT64."""
NAMES = (
    *("localhost", "localhost.", "LOCALHOST", "intranet", "metadata", "ip6-localhost", "router"),
    *("127.0.0.1.", "169.254.169.254.", "0x7f000001.", "1.2.3.4.5", "256.256.256.256", "08.8.8.8"),
)


def spelled(address: str) -> Iterator[str]:
    """An IPv4 address as a URL's host, in all ways that some resolver or browser reads."""
    number, parts = int(IPv4Address(address)), address.split(".")
    first, second, third, fourth = map(int, parts)
    yield from (address, f"{number}", f"{number:#x}", f"{number:#X}", f"0{number:o}", f"0x{number:016x}")
    yield from (f"{first}.{number & 0xFFFFFF}", f"{first}.{second}.{number & 0xFFFF}")
    yield ".".join(f"{int(part):#x}" for part in parts)
    yield ".".join(f"0{int(part):o}" for part in parts)
    yield ".".join(f"{int(part):#06x}" for part in parts)
    yield ".".join(f"0000{int(part):o}" for part in parts)
    yield f"{first:#x}.{second}.0{third:o}.{fourth}"
    yield f"{first:#x}.{number & 0xFFFFFF}"
    yield address + "."
    yield address.translate({ord("0") + digit: 0xFF10 + digit for digit in range(10)})
    yield address.translate({ord("0") + digit: 0x2460 + digit - 1 for digit in range(1, 10)})
    yield from (address.replace(".", dot) for dot in "。．｡")
    yield "".join(f"%{ord(letter):02x}" for letter in address)
    yield from (address + tail for tail in ("%00", "%20", "%2e", "\xad", "\u200b"))
    yield from (f"[{inner}]" for inner in tunnelled(address))


def tunnelled(address: str) -> Iterator[str]:
    """An IPv4 address within IPv6."""
    number = int(IPv4Address(address))
    high, low = f"{number >> 16:x}", f"{number & 0xFFFF:x}"
    yield from (f"::ffff:{address}", f"::FFFF:{high}:{low}", f"0:0:0:0:0:ffff:{high}:{low}", f"::{address}")
    yield from (f"::ffff:0:{address}", f"64:ff9b::{address}", f"64:ff9b:1::{high}:{low}")
    yield f"2002:{high}:{low}::1"
    yield f"2001:0:4136:e378:8000:63bf:{0xFFFF - (number >> 16):x}:{0xFFFF - (number & 0xFFFF):x}"


def hosts() -> Iterator[str]:
    for address in FORBIDDEN_V4:
        yield from spelled(address)
    for address in FORBIDDEN_V6:
        whole = IPv6Address(address).exploded
        yield from (f"[{address}]", f"[{whole}]", f"[{whole.upper()}]", f"[{address}%25eth0]", f"[{address}%eth0]")
    yield from NAMES


def around(host: str) -> Iterator[str]:
    """URLs that lead to a host, or seem to lead elsewhere."""
    yield f"https://{host}/"
    yield f"https://{host}:443/latest/meta-data"


def disguised(host: str) -> Iterator[str]:
    yield from (f"https://files.example@{host}/", f"https://files.example:443@{host}/", f"https://@{host}/")
    yield from (f"https://files.example%40{host}/", f"https://files.example\\@{host}/", f"https:\\\\{host}\\x")
    yield from (
        f"https://{host}\\.files.example/",
        f"https://{host}#@files.example/",
        f"https://{host}?@files.example/",
    )
    yield from (f"https://{host}\t/", f"https://\n{host}/", f"\x00https://{host}/", f"https:/{host}/", f"https:{host}/")
    yield from (f"//{host}/", f"///{host}/", f"/\\{host}/", f"http://{host}/", f"ftp://{host}/", f"gopher://{host}/")
    yield from (
        f"file://{host}/etc/passwd",
        f"jar:https://{host}!/",
        f"url:https://{host}/",
        f"view-source:https://{host}/",
    )
    yield from (f"https://{host}:0/", f"https://{host}:65536/", f"https://{host}:x/", f"https://{host}:٤٤٣/")
