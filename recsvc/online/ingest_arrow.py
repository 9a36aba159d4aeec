"""Where pyarrow comes in: the one import of it, which says what to install where it is missing."""

from __future__ import annotations

from recsvc.errors import ConfigError

try:
    import pyarrow as pa
    import pyarrow.compute as pc
    import pyarrow.csv as pa_csv
    import pyarrow.parquet as pa_parquet
except ModuleNotFoundError as error:
    raise ConfigError(f"loading needs {error.name}, which is not installed: pip install 'recsvc[data]'") from None

__all__ = ["pa", "pa_csv", "pa_parquet", "pc"]
