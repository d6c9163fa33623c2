"""Which addresses are public, whatever form they are written in."""

import ipaddress

import pytest
from hypothesis import given
from hypothesis import strategies as st

from workers.outbound import OutboundPolicy
from workers.outbound.addresses import Address, is_public

PUBLIC = ["1.1.1.1", "8.8.8.8", "93.184.215.14", "2606:4700:4700::1111", "2a00:1450:4001:80b::200e"]
CLOSED = [
    *("0.0.0.0", "0.1.2.3", "10.0.0.1", "100.64.0.1", "100.100.100.200", "127.0.0.1", "127.255.255.254"),
    *("169.254.169.254", "169.254.170.2", "172.16.0.1", "172.31.255.255", "192.0.0.192", "192.168.1.1", "198.18.0.1"),
    *("192.0.2.1", "198.51.100.1", "203.0.113.1", "224.0.0.1", "239.255.255.250", "240.0.0.1", "255.255.255.255"),
    *("168.63.129.16", "192.88.99.1"),
    *("::", "::1", "fe80::1", "fe80::1%eth0", "fec0::1", "fc00::1", "fd00:ec2::254", "ff02::1", "2001:db8::1"),
    *("2001::1", "2001:10::1", "3fff::1", "100::1", "64:ff9b:1::a00:1", "::7f00:1", "4000::1"),
]
SPECIAL = [
    "127.0.0.0/8",
    "10.0.0.0/8",
    "172.16.0.0/12",
    "192.168.0.0/16",
    "169.254.0.0/16",
    "100.64.0.0/10",
    "224.0.0.0/4",
]


def inside(inner: Address) -> dict[str, str]:
    """Every way in which an IPv6 address carries an IPv4 one."""
    number = int(inner)
    high, low = number >> 16, number & 0xFFFF
    # RFC 4380: a Teredo address holds its client's address inverted
    flipped = f"{high ^ 0xFFFF:x}:{low ^ 0xFFFF:x}"
    return {
        "mapped": f"::ffff:{inner}",
        "compatible": f"::{inner}",
        "translated": f"64:ff9b::{inner}",
        "6to4": f"2002:{high:x}:{low:x}::1",
        "teredo": f"2001:0:101:101:0:ffff:{flipped}",
    }


@pytest.mark.parametrize("text", PUBLIC)
def test_a_public_address_is_public_and_so_are_its_mapped_and_its_translated_form(text: str) -> None:
    address = ipaddress.ip_address(text)
    assert is_public(address)
    if address.version == 4:
        forms = inside(address)
        assert is_public(ipaddress.ip_address(forms["mapped"]))
        assert is_public(ipaddress.ip_address(forms["translated"]))


@pytest.mark.parametrize("text", CLOSED)
def test_everything_else_is_not(text: str) -> None:
    assert not is_public(ipaddress.ip_address(text))


@given(st.sampled_from(SPECIAL).flatmap(lambda network: st.ip_addresses(network=network)))
def test_a_private_address_is_private_in_every_form(address: Address) -> None:
    assert not is_public(address)
    for form, text in inside(address).items():
        assert not is_public(ipaddress.ip_address(text)), form


@given(st.ip_addresses())
def test_nothing_is_public_that_python_does_not_take_for_global(address: Address) -> None:
    if not address.is_global and getattr(address, "ipv4_mapped", None) is None:
        assert not is_public(address)


@given(st.ip_addresses(v=6))
def test_no_ipv6_address_outside_global_unicast_is_public(address: ipaddress.IPv6Address) -> None:
    if is_public(address) and address.ipv4_mapped is None:
        assert address in ipaddress.ip_network("2000::/3") or address in ipaddress.ip_network("64:ff9b::/96")


def test_what_is_allowed_is_allowed_in_its_mapped_form_too_and_nothing_beside_it() -> None:
    policy = OutboundPolicy.allowing("10.20.0.0/16, 127.0.0.1, fd00::/8")
    allowed = ["10.20.3.4", "::ffff:10.20.3.4", "127.0.0.1", "fd12::1"]
    assert all(policy.allows_address(ipaddress.ip_address(text)) for text in allowed)
    others = ["10.21.0.1", "127.0.0.2", "fe80::1", "169.254.169.254"]
    assert not any(policy.allows_address(ipaddress.ip_address(text)) for text in others)


def test_a_list_of_networks_addresses_and_names_is_read() -> None:
    policy = OutboundPolicy.allowing(" hooks.Internal. ,10.0.0.0/8,,::1, intra-net_1 ", http=True)
    assert policy.hosts == {"hooks.internal", "intra-net_1"}
    assert [str(network) for network in policy.networks] == ["10.0.0.0/8", "::1/128"]
    assert policy.http
    assert OutboundPolicy.allowing("") == OutboundPolicy()


@pytest.mark.parametrize(
    "text", ["*", "10.0.0.1/8", "https://x", "x:8080", "*.internal", "a..b", "bücher.de", "10.0/33"]
)
def test_a_list_that_means_something_else_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match=r"network|host bits|permitted|appear"):
        OutboundPolicy.allowing(text)
