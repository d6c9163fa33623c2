"""A network namespace for one process, whose link to this machine can be cut by the kernel.

A packet filter that drops is the real silent partition: what was sent is sent again and again, no connection is closed,
nobody is told. It needs root; where that is missing the proxy's `silence` stands in for it.
"""

import contextlib
import itertools
import os
import subprocess
from collections.abc import Iterator

import pytest

_numbers = itertools.count(1)


class Namespace:
    """`outside` is this machine's address as seen from inside."""

    def __init__(self, name: str, outside: str) -> None:
        self.name = name
        self.outside = outside

    def command(self, *command: str) -> tuple[str, ...]:
        """The same command, inside."""
        return ("ip", "netns", "exec", self.name, *command)

    def drop(self, port: int) -> None:
        """Nothing to or from that port of the outside gets through, and nobody is told."""
        for chain, which in (("OUTPUT", "--dport"), ("INPUT", "--sport")):
            _run(*self.command("iptables", "-A", chain, "-p", "tcp", which, str(port), "-j", "DROP"))

    def reject(self, port: int) -> None:
        """Whoever sends to that port is answered with a reset."""
        rule = ("-A", "OUTPUT", "-p", "tcp", "--dport", str(port), "-j", "REJECT", "--reject-with", "tcp-reset")
        _run(*self.command("iptables", *rule))

    def heal(self) -> None:
        """Everything gets through."""
        _run(*self.command("iptables", "-F"))


def _run(*command: str) -> None:
    done = subprocess.run(command, capture_output=True, text=True, timeout=30, check=False)
    if done.returncode != 0:
        raise OSError(f"{' '.join(command)}: {done.stderr.strip() or done.stdout.strip()}")


@contextlib.contextmanager
def namespace() -> Iterator[Namespace]:
    """One with a link to this machine. Skips the test, with the reason, where there cannot be one."""
    number = next(_numbers)
    name = f"errander-{os.getpid()}-{number}"
    # one /30 for each, out of a private network that hardly anybody uses
    base = (os.getpid() * 16 + number) % (2**14) * 4
    network = f"10.213.{base // 256}"
    outside, inside = f"{network}.{base % 256 + 1}", f"{network}.{base % 256 + 2}"
    here, there = f"er{os.getpid() % 100_000}o{number}", f"er{os.getpid() % 100_000}i{number}"
    made = Namespace(name, outside)
    with contextlib.ExitStack() as stack:
        try:
            _run("ip", "netns", "add", name)
            stack.callback(_run, "ip", "netns", "delete", name)
            _run("ip", "link", "add", here, "type", "veth", "peer", "name", there, "netns", name)
            stack.callback(_run, "ip", "link", "delete", here)
            _run("ip", "address", "add", f"{outside}/30", "dev", here)
            _run("ip", "link", "set", here, "up")
            _run("ip", "-n", name, "address", "add", f"{inside}/30", "dev", there)
            _run("ip", "-n", name, "link", "set", there, "up")
            _run("ip", "-n", name, "link", "set", "lo", "up")
            _run(*made.command("iptables", "-L", "-n"))
        except (OSError, subprocess.TimeoutExpired) as error:
            pytest.skip(f"a partition by the kernel was NOT tried, only one by the proxy: {error}")
        yield made
