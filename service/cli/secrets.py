"""Passwords of the stores in `compose.yaml`, made once: `python -m service.cli.secrets FOLDER`.

The folder is a volume that only the containers of this deployment mount. What is there is kept, so that a second
start finds the passwords the stores were made with.
"""

import secrets
import sys
from pathlib import Path

_BYTES = 24


def write(folder: Path) -> list[str]:
    """Writes the files that are missing; their names."""
    folder.mkdir(parents=True, exist_ok=True)
    postgres = _kept(folder / "postgres_password")
    redis = _kept(folder / "redis_password")
    content = {
        "postgres_password": postgres,
        "redis_password": redis,
        "database_url": f"postgresql://errander:{postgres}@postgres:5432/errander",
        "redis_url": f"redis://:{redis}@valkey:6379/0",
    }
    written = []
    for name, text in content.items():
        path = folder / name
        if path.exists():
            continue
        new = path.with_suffix(".new")
        new.write_text(text, encoding="utf-8")
        # Read by three different users in three images; the volume itself is the boundary.
        new.chmod(0o444)
        new.replace(path)
        written.append(name)
    return written


def _kept(path: Path) -> str:
    return path.read_text(encoding="utf-8") if path.exists() else secrets.token_urlsafe(_BYTES)


if __name__ == "__main__":
    for line in write(Path(sys.argv[1])):
        print(f"made {line}")
