"""recsvc: features and recommendations over gRPC. Import from here what definitions are written with."""

from recsvc.registry.model import (
    AUTO,
    Entity,
    Expected,
    Feature,
    FeatureService,
    FeatureView,
    OnDemandFeature,
    OnDemandView,
    RequestField,
    Sensitivity,
    Source,
)
from recsvc.registry.registry import Registry
from recsvc.registry.types import (
    BOOL,
    FLOAT32,
    FLOAT64,
    INT64,
    INT64_LIST,
    STRING,
    STRING_LIST,
    TIMESTAMP,
    VECTOR,
    FeatureType,
)

__version__ = "0.1.0"

__all__ = [
    "AUTO",
    "BOOL",
    "FLOAT32",
    "FLOAT64",
    "INT64",
    "INT64_LIST",
    "STRING",
    "STRING_LIST",
    "TIMESTAMP",
    "VECTOR",
    "Entity",
    "Expected",
    "Feature",
    "FeatureService",
    "FeatureType",
    "FeatureView",
    "OnDemandFeature",
    "OnDemandView",
    "Registry",
    "RequestField",
    "Sensitivity",
    "Source",
    "__version__",
]
