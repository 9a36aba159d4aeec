"""Where onnxruntime comes in: the one import of it, which says what to install where it is missing."""

from __future__ import annotations

from typing import Any, Final

from recsvc.errors import ConfigError

try:
    import onnxruntime
    from onnxruntime.capi import onnxruntime_pybind11_state as state
except ModuleNotFoundError as error:
    raise ConfigError(f"this model needs {error.name}, which is not installed: pip install 'recsvc[onnx]'") from None

ERRORS: Final[tuple[type[Exception], ...]] = tuple(
    found for found in vars(state).values() if isinstance(found, type) and issubclass(found, Exception)
)
"""What onnxruntime raises for a model that it cannot load; they have no base of their own, and grow in number."""
_SILENT: Final = 4
"""Fatal messages only: what is wrong comes as an exception, and onnxruntime would write it to stderr as well."""


def session(model: bytes) -> Any:  # noqa: ANN401  # onnxruntime has no types
    """Return an InferenceSession that uses the calling thread alone; raises one of ERRORS.

    Left alone it starts a thread per core in every worker, which spin while they wait.
    """
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 1
    options.inter_op_num_threads = 1
    options.execution_mode = onnxruntime.ExecutionMode.ORT_SEQUENTIAL
    options.log_severity_level = _SILENT
    options.add_session_config_entry("session.intra_op.allow_spinning", "0")
    options.add_session_config_entry("session.inter_op.allow_spinning", "0")
    return onnxruntime.InferenceSession(model, options, providers=["CPUExecutionProvider"])
