"""URLs in every disguise: each is refused for what it is, or leads to an address that is looked at."""

import contextlib
import ipaddress
import socket
import string
from collections.abc import Sequence

import httpx
import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from workers.outbound import OutboundPolicy, OutboundRefused
from workers.outbound.addresses import is_public
from workers.outbound.guard import Resolver, addresses_of, check_url

POLICY = OutboundPolicy()


def leads_to(*addresses: str) -> Resolver:
    """A resolver that has one answer for everything."""

    async def resolver(_host: str, _port: int) -> Sequence[str]:
        return addresses

    return resolver


@pytest.mark.parametrize(
    "url",
    [
        "https://example.com/",
        "https://example.com:8443/path?x=http://10.0.0.1/",
        "HTTPS://EXAMPLE.com",
        "https://example.com.",
        "https://bücher.example",
        "https://10.com/",
        "https://1.1.1.1",
        "https://[2606:4700::1111]/",
    ],
)
def test_a_plain_url_passes(url: str) -> None:
    check_url(httpx.URL(url), POLICY)


@pytest.mark.parametrize(
    ("url", "words"),
    [
        ("http://example.com/", "only https"),
        ("file:///etc/passwd", "only https"),
        ("gopher://example.com/", "only https"),
        ("ftp://example.com/", "only https"),
        ("//example.com/", "only https"),
        ("https://user:secret@example.com/", "user or a password"),
        ("https://example.com@10.0.0.1/", "user or a password"),
        ("https://example.com:22/", "port 22"),
        ("https://example.com:0/", "port 0"),
        ("https://example.com:80/", "port 80"),
        ("https://metadata.google.internal/", "metadata"),
        ("https://METADATA.google.internal./", "metadata"),
        ("https://2130706433/", "no host"),
        ("https://0x7f000001/", "no host"),
        ("https://0x7f.0.0.1/", "no host"),
        ("https://127.1/", "no host"),
        ("https://127.0.1./", "no host"),
        ("https://1.2.3.4.5/", "no host"),
        ("https://a b/", "no host name"),
        ("https://127.0.0.1%2f.example.com/", "no host name"),
        ("https://./", "no host"),
    ],
)
def test_what_shows_in_the_url_is_refused_without_asking_anybody(url: str, words: str) -> None:
    with pytest.raises(OutboundRefused, match=words) as refused:
        check_url(httpx.URL(url), POLICY)
    assert "secret" not in str(refused.value)


@pytest.mark.parametrize(
    "url",
    [
        "https://\uff11\uff12\uff17.0.0.1/",  # full width digits
        "https://\u2460\u2461\u2466.0.0.1/",  # digits in circles
        "https://\u24d4xample.com/",
        "https://0177.0.0.1/",
        "https://256.1.1.1/",
    ],
)
def test_disguised_digits_and_letters_are_no_url_at_all(url: str) -> None:
    with pytest.raises(httpx.InvalidURL):
        httpx.URL(url)


def test_http_and_other_ports_only_where_they_are_allowed() -> None:
    policy = OutboundPolicy(http=True, ports=frozenset({9000}))
    for url in ("http://example.com", "https://example.com:9000", "http://example.com:9000"):
        check_url(httpx.URL(url), policy)
    with pytest.raises(OutboundRefused, match="port 443"):
        check_url(httpx.URL("http://example.com:443"), policy)
    with pytest.raises(OutboundRefused, match="port 80"):
        check_url(httpx.URL("https://example.com:80"), policy)


async def test_one_private_answer_among_public_ones_is_enough_to_refuse() -> None:
    assert len(await addresses_of("x.example", 443, POLICY, leads_to("1.1.1.1", "2606:4700::1111"))) == 2
    with pytest.raises(OutboundRefused, match=r"x\.example leads to an address that is not public") as refused:
        await addresses_of("x.example", 443, POLICY, leads_to("1.1.1.1", "10.9.8.7"))
    assert "10.9.8.7" not in str(refused.value), "the inside of a network is nobody's business"


async def test_a_name_that_is_allowed_may_lead_anywhere_and_no_other_name_may() -> None:
    policy = OutboundPolicy.allowing("hooks.internal, metadata.google.internal")
    check_url(httpx.URL("https://metadata.google.internal/"), policy)
    assert await addresses_of("HOOKS.internal.", 443, policy, leads_to("10.0.0.1"))
    for host in ("x.hooks.internal", "hooks.internal.example.com"):
        with pytest.raises(OutboundRefused):
            await addresses_of(host, 443, policy, leads_to("10.0.0.1"))


@pytest.mark.parametrize("host", [f"{'a' * 64}.example", "a..example"])
async def test_a_name_that_no_resolver_takes_is_refused_or_not_found(host: str) -> None:
    with pytest.raises((OutboundRefused, OSError)):
        await addresses_of(host, 443, POLICY)


def test_a_host_without_an_address_is_not_found() -> None:
    with contextlib.closing(addresses_of("x.example", 443, POLICY, leads_to())) as asked, pytest.raises(OSError):
        asked.send(None)


# -- every spelling of an address -------------------------------------------------------------------------------------

HIDDEN = st.sampled_from(["127.0.0.1", "10.0.0.1", "169.254.169.254", "192.168.0.1", "0.0.0.0"])


@st.composite
def spelled(draw: st.DrawFn) -> str:
    """A private IPv4 address as one to four numbers, each decimal, octal or hexadecimal, as the C library reads them."""
    number = int(ipaddress.IPv4Address(draw(HIDDEN)))
    parts = draw(st.integers(1, 4))
    values = [(number >> (24 - 8 * n)) & 0xFF for n in range(parts - 1)]
    values.append(number & ((1 << (8 * (5 - parts))) - 1))
    forms = [
        st.sampled_from([f"{value}", f"0{value:o}", f"0x{value:x}", f"0X{value:X}", f"00{value:o}"]) for value in values
    ]
    return ".".join(draw(form) for form in forms) + draw(st.sampled_from(["", "."]))


def system(host: str, port: int) -> Sequence[str]:
    """What the C library makes of a host that needs no name server."""
    try:
        return [str(entry[4][0]) for entry in socket.getaddrinfo(host, port, flags=socket.AI_NUMERICHOST)]
    except (OSError, UnicodeError):
        return []


async def _numeric(host: str, port: int) -> Sequence[str]:
    return system(host, port)


@given(spelled())
@example("0x7f.1")
@example("127.0.0.1.")
@example("017700000001")
def test_no_spelling_of_a_private_address_gets_through(host: str) -> None:
    assert passes(f"https://{host}/") == []


@given(HIDDEN, st.sampled_from(["[::ffff:{}]", "[::{}]", "[64:ff9b::{}]", "[0:0:0:0:0:ffff:{}]"]))
def test_no_ipv6_spelling_of_a_private_address_gets_through(address: str, form: str) -> None:
    assert passes(f"https://{form.format(address)}/") == []


@given(st.text(string.ascii_letters + string.digits + ".:[]@%x-/\\#?\uff11\uff12\u3002\u2460", max_size=30))
def test_whatever_the_host_what_gets_through_is_public(text: str) -> None:
    assert all(is_public(ipaddress.ip_address(address)) for address in passes(f"https://{text}"))


def passes(text: str) -> list[str]:
    """The addresses that a request would go to; none where it is refused, or where the host is no number."""
    try:
        url = httpx.URL(text)
        check_url(url, POLICY)
    except (OutboundRefused, httpx.InvalidURL):
        return []
    asked = addresses_of(url.raw_host.decode("ascii"), url.port or 443, POLICY, _numeric)
    try:
        asked.send(None)
    except StopIteration as done:
        return [str(address) for address in done.value]
    except (OutboundRefused, OSError):
        return []
    raise AssertionError("it waited for something")
