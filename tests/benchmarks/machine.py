"""The machine that a run ran on, in a few words."""

import os
import platform
import subprocess
from pathlib import Path

import psutil

from service.embedded import EmbeddedPostgres, EmbeddedValkey


def described(postgres: EmbeddedPostgres, valkey: EmbeddedValkey) -> dict[str, str]:
    """Processor, cores, memory, system, Python and the servers' versions; no name of the machine."""
    return {
        "processor": _processor(),
        "cores": f"{len(os.sched_getaffinity(0)) if hasattr(os, 'sched_getaffinity') else os.cpu_count()} cores",
        "memory": f"{psutil.virtual_memory().total / 2**30:.0f} GiB",
        "system": f"{platform.system()} {platform.release()}",
        "python": f"Python {platform.python_version()}",
        "postgres": _version(postgres.program("postgres"), "PostgreSQL"),
        "valkey": _version(Path(valkey.argv[0]), "Valkey"),
    }


def _processor() -> str:
    info = Path("/proc/cpuinfo")
    if info.exists():
        for line in info.read_text(encoding="utf-8").splitlines():
            if line.startswith("model name"):
                return line.partition(":")[2].strip()
    return platform.processor() or platform.machine()


def _version(program: Path, name: str) -> str:
    said = subprocess.run([str(program), "--version"], capture_output=True, text=True, check=False).stdout
    numbers = [word.removeprefix("v=") for word in said.split() if word.removeprefix("v=")[:1].isdigit()]
    return f"{name} {numbers[0]}" if numbers else name


def load_average() -> float:
    """Processes that wanted a core over the last minute: what others did when a run began."""
    return os.getloadavg()[0]
