"""Values of server commands as people type them; argparse shows what they raise as a usage error."""

import argparse

_PORTS = range(65_536)


def port(text: str) -> int:
    """A port to listen on; 0 is any free one."""
    if not text.isdecimal() or int(text) not in _PORTS:
        raise argparse.ArgumentTypeError(f"{text!r} is no port")
    return int(text)


def count(text: str) -> int:
    """A number of processes, which may be none."""
    if not text.isdecimal():
        raise argparse.ArgumentTypeError(f"{text!r} is no number of processes")
    return int(text)


def at_least_one(text: str) -> int:
    """A number of processes, at least one."""
    if not count(text):
        raise argparse.ArgumentTypeError("at least 1 process is needed")
    return int(text)
