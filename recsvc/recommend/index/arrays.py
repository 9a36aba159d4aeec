"""Arrays in files: mapped into memory, and refused unless they are of the type and shape that is expected."""

from __future__ import annotations

from pathlib import Path
from typing import TypeVar

import numpy as np
from numpy.typing import NDArray

from recsvc.recommend.index.errors import BadIndexError

Element = TypeVar("Element", bound=np.generic)


def map_array(path: Path, of: type[Element], *shape: int | None) -> NDArray[Element]:
    """Map a .npy file, read-only; None in ``shape`` is any length. Raises BadIndexError."""
    try:
        array = np.asarray(np.load(path, mmap_mode="r", allow_pickle=False))  # a memmap's own methods are slow
    except (OSError, ValueError) as error:
        raise BadIndexError(f"index {path.parent}: {path.name} is not an array: {error}") from None
    fits = len(array.shape) == len(shape) and all(
        there == wanted for there, wanted in zip(array.shape, shape, strict=True) if wanted is not None
    )
    if array.dtype != of or not fits:
        wanted = ", ".join("any" if length is None else str(length) for length in shape)
        raise BadIndexError(
            f"index {path.parent}: {path.name} has {array.dtype} {array.shape}, not {np.dtype(of).name} ({wanted})"
        )
    return array
