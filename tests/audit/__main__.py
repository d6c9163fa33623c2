"""`python -m tests.audit LOCK …`: whether a locked package has a known vulnerability; `make lint` asks.

pip-audit, installed apart, asks the advisory service of the package index. A finding fails. Where the service does not answer,
or knows nothing of the packages (a mirror without advisories), nothing is known: that is said loudly, and is no failure, because
the checks of a change must not depend on somebody else's server.
"""

import json
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Final

PIP_AUDIT: Final = Path(__file__).parents[2] / ".venv-audit/bin/pip-audit"
TIMEOUT_SECONDS: Final = 120
_OPTIONS: Final = (
    "--format",
    "json",
    "--progress-spinner",
    "off",
    "--timeout",
    "5",
    "--require-hashes",
    "--disable-pip",
)


def main(locks: Sequence[str]) -> int:
    """Asks, and says what it means; 1 if anything is vulnerable."""
    command = [str(PIP_AUDIT), *_OPTIONS, *(part for lock in locks for part in ("--requirement", lock))]
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=TIMEOUT_SECONDS, check=False)
    except subprocess.TimeoutExpired:
        print(_unknown(f"the advisory service did not answer within {TIMEOUT_SECONDS} s"), file=sys.stderr)
        return 0
    lines, code = judged(done.stdout, done.stderr)
    print("\n".join(lines), file=sys.stderr)
    return code


def judged(output: str, errors: str) -> tuple[list[str], int]:
    """What pip-audit's answer means: lines to say, and the exit code. Pure."""
    try:
        packages: list[dict[str, Any]] = json.loads(output)["dependencies"]
    except (ValueError, KeyError):
        last = errors.strip().splitlines()[-1:] or ["it said nothing"]
        return [_unknown(f"the advisory service does not answer ({last[0][:300]})")], 0
    asked = [one for one in packages if "skip_reason" not in one]
    lines = [_finding(one, found) for one in asked for found in one.get("vulns", ())]
    if lines:
        return lines, 1
    if len(asked) < len(packages):
        lines.append(
            _unknown(f"{len(packages) - len(asked)} of {len(packages)} packages are not known to the advisory service")
        )
    if asked:
        lines.append(f"pip-audit: {len(asked)} packages have no known vulnerability")
    return lines, 0


def _finding(package: dict[str, Any], found: dict[str, Any]) -> str:
    fixed = ", ".join(found.get("fix_versions", ())) or "no version yet"
    names = ", ".join([found["id"], *found.get("aliases", ())])
    return f"pip-audit: {package['name']} {package['version']} is vulnerable: {names} (fixed in {fixed})"


def _unknown(why: str) -> str:
    rule = "!" * 100
    return f"{rule}\npip-audit: NOT CHECKED: {why}. Nothing is known about these packages.\n{rule}"


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
