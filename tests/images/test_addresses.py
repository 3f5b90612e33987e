"""No spelling of a private address gets through."""

import pytest

from reconciler.images.addresses import is_public, vetting
from reconciler.transport import Forbidden


@pytest.mark.parametrize("address", ["8.8.8.8", "104.18.1.1", "2606:4700::1111", "64:ff9b::808:808", "::ffff:8.8.8.8"])
def test_public(address: str) -> None:
    assert is_public(address)
    vetting([])("host.example", address)


PRIVATE = [
    "127.0.0.1",
    "127.255.255.254",
    "0.0.0.0",
    "0.1.2.3",
    "10.0.0.1",
    "172.16.0.1",
    "172.31.255.255",
    "192.168.1.1",
    "169.254.169.254",
    "100.64.0.1",
    "100.100.100.200",
    "192.0.0.192",
    "192.0.2.1",
    "198.18.0.1",
    "192.88.99.1",
    "168.63.129.16",
    "224.0.0.1",
    "239.255.255.250",
    "240.0.0.1",
    "255.255.255.255",
    "::",
    "::1",
    "::127.0.0.1",
    "::ffff:127.0.0.1",
    "::ffff:7f00:1",
    "::ffff:a9fe:a9fe",
    "64:ff9b::7f00:1",
    "64:ff9b::a00:1",
    "64:ff9b:1::1",
    "2002:7f00:1::",
    "2002:a9fe:a9fe::1",
    "2001::1",
    "2001:db8::1",
    "3fff::1",
    "fc00::1",
    "fd00:ec2::254",
    "fe80::1",
    "fe80::1%eth0",
    "fec0::1",
    "ff02::1",
    "100::1",
    "5f00::1",
    "",
    "no address",
    "127.1",
    "2130706433",
]


@pytest.mark.parametrize("address", PRIVATE)
def test_not_public(address: str) -> None:
    assert not is_public(address)
    with pytest.raises(Forbidden, match=r"host\.example is at .*, which is no public address"):
        vetting(["127.0.0.1"])("host.example", address)


@pytest.mark.parametrize("address", ["127.0.0.1", "127.0.0.2", "::1", "::ffff:127.0.0.1", "8.8.8.8"])
@pytest.mark.parametrize("host", ["sim.test", "SIM.test", "sim.test."])
def test_insecure_hosts_may_be_on_loopback(host: str, address: str) -> None:
    vetting(["Sim.Test"])(host, address)


@pytest.mark.parametrize("address", ["10.0.0.1", "169.254.169.254", "fe80::1", "0.0.0.0", "nonsense"])
def test_and_nowhere_else(address: str) -> None:
    with pytest.raises(Forbidden):
        vetting(["sim.test"])("sim.test", address)


def test_the_bracketed_form_is_the_same_host() -> None:
    vetting(["[::1]"])("::1", "::1")
