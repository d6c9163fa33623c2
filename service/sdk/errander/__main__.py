"""`python -m errander`: the same as the `errander` command."""

import sys

from ._cli import main

if __name__ == "__main__":
    sys.exit(main())
