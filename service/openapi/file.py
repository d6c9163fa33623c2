"""The description of the API as a file: `python -m service.openapi.file` writes what `docs/openapi.json` keeps.

With it a client can be generated without a server, and a change of the API shows in its difference.
"""

import json
import sys
from typing import Any

from fastapi import FastAPI

from service.main import create_app
from service.openapi.document import build
from service.settings import ApiSettings

_NOWHERE = {"database_url": "postgresql://nowhere/none", "redis_url": "redis://nowhere", "auth": "off"}
"""Settings for an application that is described and never started."""


def undeployed() -> FastAPI:
    """The application as it is described, without anything that it needs to run."""
    return create_app(ApiSettings.model_validate(_NOWHERE))


def text_of(app: FastAPI) -> str:
    """The description, in an order that does not depend on that of the code."""
    described: dict[str, Any] = build(app)
    return json.dumps(described, indent=1, sort_keys=True, ensure_ascii=False) + "\n"


if __name__ == "__main__":
    sys.stdout.write(text_of(undeployed()))
