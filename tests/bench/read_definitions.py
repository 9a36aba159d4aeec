"""What the read benchmarks serve: 25 views of 10 INT64 features of a user, as feast-benchmarks has them.

`recsvc serve tests/bench/read_definitions.py` loads this file, so it stands alone.
"""

from __future__ import annotations

from recsvc import INT64, Entity, Feature, FeatureService, FeatureView, Registry

VIEWS = 25
WIDTH = 10

USER = Entity("user", "user_id", INT64)

registry = Registry(
    views=[
        FeatureView(f"v{v}", [USER], [Feature(f"f{v * WIDTH + f}", INT64) for f in range(WIDTH)]) for v in range(VIEWS)
    ],
    services=[FeatureService("ten", ["v0"])],
)
