"""``python -m recsvc`` and the ``recsvc`` command."""

from __future__ import annotations

import os
import sys

INTERRUPTED = 130
# Before numpy comes: searches have threads of their own, and more than one each would fight for the cores.
os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")


def main() -> int:
    """Run the command line; also while its modules are still being imported, Ctrl-C ends it without a traceback."""
    try:
        from recsvc.cli.main import main as run  # noqa: PLC0415

        return run()
    except KeyboardInterrupt:
        return INTERRUPTED


if __name__ == "__main__":
    sys.exit(main())
