"""``python -m aqe_core`` is the program ``aqe``."""

import sys

from aqe_core.cli import main

if __name__ == "__main__":
    sys.exit(main())
