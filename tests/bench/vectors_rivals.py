"""Vector sets of Redis 8 (VADD, VSIM) as a store of vectors, for the comparison; recsvc does not use them."""

from __future__ import annotations

from enum import Enum

import numpy as np
import redis
from numpy.typing import NDArray

Places = NDArray[np.int64]
Vectors = NDArray[np.float32]
PER_WRITE = 500
LEAST_EF = 200


class Quantization(Enum):
    """In what form a vector set keeps its vectors."""

    EIGHT_BITS = "Q8"
    NONE = "NOQUANT"


class VectorSetStore:
    """See VectorStore: a vector set whose elements are places, and the vectors as strings.

    It knows cosine only, so in the set each vector has one more component, which brings all to the length of the
    ``longest``: then the cosine has the order of the inner product.
    """

    def __init__(self, client: redis.Redis, name: str, longest: float, kind: Quantization) -> None:
        self._client = client
        self._name = name
        self._longest = longest
        self._kind = kind

    def __repr__(self) -> str:
        return f"VectorSetStore({self._name}, {self._kind.value})"

    def write(self, rows: Vectors) -> None:
        """Write the set and the strings."""
        missing = np.sqrt(np.maximum(0.0, self._longest**2 - np.einsum("ij,ij->i", rows, rows, dtype=np.float64)))
        lifted = np.column_stack([rows, missing]).astype("<f4")
        for start in range(0, len(rows), PER_WRITE):
            pipeline = self._client.pipeline(transaction=False)
            for place, row in enumerate(rows[start : start + PER_WRITE], start):
                blob = lifted[place].tobytes()
                pipeline.execute_command(
                    "VADD", self._name, "FP32", blob, str(place), self._kind.value, "EF", 200, "M", 16
                )
                pipeline.set(f"{self._name}:{place}", row.astype("<f4").tobytes())
            pipeline.execute()

    def drop(self) -> None:
        """Remove all."""
        self._client.flushdb()

    def nearest(self, point: Vectors, k: int) -> Places:
        """See VectorStore."""
        point = np.append(point, 0.0)
        words = ["FP32", point.astype("<f4").tobytes(), "COUNT", k, "EF", max(k, LEAST_EF)]
        return np.array(self._client.execute_command("VSIM", self._name, *words), dtype=np.int64)

    def nearest_among(self, point: Vectors, among: Places, k: int) -> Places:
        """See VectorStore: a filter could name places, but reads them all for each vector it looks at."""
        return among[np.argsort(-(self.vectors(among) @ point), kind="stable")[:k]]

    def vectors(self, places: Places) -> Vectors:
        """See VectorStore."""
        blobs = self._client.mget([f"{self._name}:{place}" for place in places.tolist()])
        return np.frombuffer(b"".join(blobs), dtype="<f4").reshape(len(places), -1)  # type: ignore[arg-type]  # bytes
