"""``python -m recsvc`` and the ``recsvc`` command."""

from __future__ import annotations

import sys

from recsvc.cli.main import main

if __name__ == "__main__":
    sys.exit(main())
