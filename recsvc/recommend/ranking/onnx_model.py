"""An ONNX graph as a bundle keeps it. Knows no onnxruntime: only a ranker that is made from it does."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Final

from recsvc.recommend.ranking.card import SCALARS, ModelCard
from recsvc.recommend.ranking.errors import BundleError
from recsvc.recommend.ranking.json_fields import Fields

if TYPE_CHECKING:
    from recsvc.recommend.ranking.onnx_ranker import OnnxRanker

MODEL: Final = "model.onnx"
SETTINGS: Final = "onnx.json"


@dataclass(frozen=True, slots=True)
class OnnxModel:
    """A graph in one piece (no external data).

    ``output`` names the output with the scores, where more than one has floats. ``missing`` has a number per feature
    that stands in for values that are missing, for a model that cannot read NaN; None: it can.
    """

    graph: bytes = field(repr=False)
    output: str | None = None
    missing: tuple[float, ...] | None = None

    @classmethod
    def from_files(cls, files: Mapping[str, bytes]) -> OnnxModel:
        """Read the model of a bundle; raises BundleError."""
        if set(files) != {MODEL, SETTINGS}:
            raise BundleError(f"manifest.json lists the files {sorted(files)}; this kind has {MODEL} and {SETTINGS}")
        fields = Fields.parse(files[SETTINGS], SETTINGS)
        output = None if fields.is_null("output") else fields.text("output")
        return cls(files[MODEL], output, None if fields.is_null("missing") else fields.numbers("missing"))

    def files(self) -> Mapping[str, bytes]:
        """Return what a bundle keeps of it."""
        settings = {"output": self.output, "missing": self.missing}
        return {MODEL: self.graph, SETTINGS: json.dumps(settings, indent=1).encode()}

    def ranker(self, card: ModelCard) -> OnnxRanker:
        """Return a ranker on the features of ``card``.

        Raises BundleError where the model does not fit them, ConfigError where onnxruntime is not installed.
        """
        from recsvc.recommend.ranking.onnx_ranker import OnnxRanker  # noqa: PLC0415  # it needs an extra

        for feature in card.features:
            if feature.type.kind not in SCALARS:
                right = "an ONNX model takes numbers, bools and timestamps"
                raise BundleError(f"feature {feature.name!r} is of type {feature.type}; {right}")
        if self.missing is not None and len(self.missing) != card.width:
            right = f"there must be one for each of {card.width} features"
            raise BundleError(f"{SETTINGS}: {len(self.missing)} numbers in 'missing', {right}")
        return OnnxRanker(card, self)
