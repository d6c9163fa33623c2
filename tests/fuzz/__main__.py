"""`python -m tests.fuzz`: the whole API under schemathesis, on servers of its own.

Starts `errander dev` with authentication required, and a token for everything; then runs schemathesis, which is installed
apart (`make fuzz` does), over `/openapi.json`: examples, coverage of every constraint, random requests, and sequences in which
what one operation made is used by the next. Exit code 0: no finding.
"""

import argparse
import os
import secrets
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import jwt

from service.auth.scopes import EVERYTHING
from service.supervise import free_port
from tests.fixtures.dev import DevProcess

HERE = Path(__file__).parent
ROOT = HERE.parents[1]
SCHEMATHESIS = ROOT / ".venv-fuzz/bin/schemathesis"
TOKEN_SECONDS = 3600
PHASES = (("examples,coverage,fuzzing", 0.6), ("stateful", 0.4))
"""What is done, and its share of the time: each gets some, however long the others would take."""
_OUTER = {name: value for name, value in os.environ.items() if not name.startswith("ERRANDER_")}


def main() -> int:
    """Runs it; the exit code of schemathesis."""
    parser = argparse.ArgumentParser(prog="python -m tests.fuzz", description=__doc__)
    parser.add_argument("--seed", type=int, default=1, help="the same seed sends the same requests (default 1)")
    parser.add_argument("--seconds", type=int, default=300, help="how long it may take (default 300)")
    parser.add_argument("--examples", type=int, default=40, help="requests an operation and kind (default 40)")
    parser.add_argument("rest", nargs="*", help="further options of schemathesis, behind --")
    args = parser.parse_args()
    if not SCHEMATHESIS.exists():
        print(f"{SCHEMATHESIS} is missing; run `make fuzz`", file=sys.stderr)
        return 2
    with tempfile.TemporaryDirectory(prefix="errander-fuzz-") as folder:
        return run(Path(folder), args.seed, args.seconds, args.examples, args.rest)


def run(folder: Path, seed: int, seconds: int, examples: int, rest: list[str]) -> int:
    """Fuzzes a deployment of its own in `folder`."""
    secret = secrets.token_urlsafe(48)
    env = {
        "ERRANDER_AUTH": "required",
        "ERRANDER_JWT_SECRET": secret,
        "ERRANDER_JWT_MAX_AGE_SECONDS": str(TOKEN_SECONDS),
        "ERRANDER_METRICS_PORT": "0",
        # the fuzzer looks at every operation without its token, too
        "ERRANDER_RATE_LIMIT_AUTH": "1000000/minute",
    }
    with DevProcess(folder, "--port", str(free_port()), "--no-reload", env=env) as dev:
        dev.ready()
        command = [
            *(str(SCHEMATHESIS), "--config-file", str(HERE / "schemathesis.toml")),
            *("run", f"{dev.url}/openapi.json"),
            *("--header", f"Authorization: Bearer {_token(secret)}"),
            *("--seed", str(seed), "--max-examples", str(examples), *rest),
        ]
        found = [_fuzzed(folder, command, phases, int(seconds * share)) for phases, share in PHASES]
        failures = [line for line in dev.output.splitlines() if "request.failed" in line]
    print("\n".join(failures[:20]), end="\n" if failures else "")
    return max(found) or int(bool(failures))


def _fuzzed(folder: Path, command: list[str], phases: str, seconds: int) -> int:
    return subprocess.run(
        [*command, "--phases", phases, "--max-time", str(seconds)],
        cwd=folder,
        env={**_OUTER, "SCHEMATHESIS_HOOKS": "hooks", "PYTHONPATH": str(HERE)},
        check=False,
    ).returncode


def _token(secret: str) -> str:
    now = int(time.time())
    said = {"iss": "errander", "aud": "errander", "sub": "fuzz", "iat": now, "exp": now + TOKEN_SECONDS}
    return jwt.encode(said | {"scope": " ".join(sorted(EVERYTHING))}, secret, algorithm="HS256")


if __name__ == "__main__":
    sys.exit(main())
