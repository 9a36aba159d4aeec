"""``python -m tests.fault.slates_server FLAGS``: `recsvc serve` whose sources, index and ranker break when it is told.

All else is the server as it is. It reads lines on stdin: what is wrong from then on, as Faults has it.
"""

from __future__ import annotations

import sys
import threading
from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import Final
from unittest import mock

from recsvc.cli.main import main as recsvc
from recsvc.recommend import asking, served_models, serving
from tests.fault.slates_faults import Faults, FaultyIndexes, Now, faulty_bundles, faulty_find

DEFINITIONS: Final = Path(__file__).with_name("slates_definitions.py")
LOOK_S: Final = 1.0
"""How often it is looked for another version of the index, so that a drill need not wait."""


def main(arguments: Sequence[str]) -> int:
    """Serve until told to stop."""
    now = Now()
    threading.Thread(target=_listen, args=(now,), daemon=True).start()
    with (
        mock.patch.object(asking, "find", faulty_find(now)),
        mock.patch.object(serving, "Indexes", partial(FaultyIndexes, now)),
        mock.patch.object(served_models, "load_bundle", faulty_bundles(now)),
        mock.patch.object(serving, "INDEX_INTERVAL_S", LOOK_S),
    ):
        return recsvc(["serve", str(DEFINITIONS), *arguments])


def _listen(now: Now) -> None:
    for line in sys.stdin:
        now.faults = Faults.of(line)
        sys.stdout.write("taken\n")
        sys.stdout.flush()


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
