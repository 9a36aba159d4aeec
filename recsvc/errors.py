"""The one tree of errors: what went wrong, whose it is to mend, and which words a caller may see.

``rpc.errors`` maps ``kind`` to a gRPC status. ``str(error)`` of an error that can reach a caller never has an
exception's text, a path or a credential in it.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from enum import Enum
from typing import ClassVar


class Kind(Enum):
    """What an error means to the caller; the names are those of the gRPC status codes."""

    INVALID_ARGUMENT = "INVALID_ARGUMENT"
    NOT_FOUND = "NOT_FOUND"
    DEADLINE_EXCEEDED = "DEADLINE_EXCEEDED"
    UNAVAILABLE = "UNAVAILABLE"
    INTERNAL = "INTERNAL"


class RecsvcError(Exception):
    """Base of all errors that recsvc raises on purpose."""

    kind: ClassVar[Kind] = Kind.INTERNAL
    reason: ClassVar[str] = "INTERNAL"


class ConfigError(RecsvcError):
    """A setting is wrong: one line that names it and says what would be right."""

    reason = "CONFIG"


class StartupError(RecsvcError):
    """The process cannot start (port taken, Redis wrong, …): one line that says why and what to do."""

    reason = "STARTUP"


class DefinitionError(RecsvcError):
    """Feature definitions are wrong; ``problems`` has a line for each mistake, all of them at once."""

    reason = "DEFINITIONS"

    def __init__(self, problems: Sequence[str]) -> None:
        self.problems = tuple(problems)
        super().__init__("\n".join(self.problems))


class RowFormatError(RecsvcError):
    """Bytes that are not a row of the online store that this version can read."""

    reason = "ROW_FORMAT"


class StoreUnavailableError(RecsvcError):
    """The online store did not answer in time, or refused."""

    kind = Kind.UNAVAILABLE
    reason = "STORE_UNAVAILABLE"


class StoreRefusedError(StoreUnavailableError):
    """The online store was not asked, because its circuit breaker is open."""

    reason = "CIRCUIT_OPEN"


class DeadlineError(RecsvcError):
    """Too little of the caller's deadline is left to answer in time."""

    kind = Kind.DEADLINE_EXCEEDED
    reason = "DEADLINE_TOO_SHORT"


class DrainingError(RecsvcError):
    """The server is stopping and takes no new calls."""

    kind = Kind.UNAVAILABLE
    reason = "SERVER_STOPPING"


@dataclass(frozen=True, slots=True)
class Violation:
    """One thing that is wrong with a request.

    ``field`` is its path in the message, ``unknown`` whether it names what does not exist.
    """

    field: str
    description: str
    unknown: bool = False


class RequestError(RecsvcError):
    """A request that cannot be answered as it stands; ``violations`` has all that is wrong with it.

    ``metadata`` holds machine-readable facts (limits and actual values).
    """

    kind = Kind.INVALID_ARGUMENT
    reason = "INVALID_REQUEST"

    def __init__(self, violations: Sequence[Violation], metadata: Mapping[str, str] | None = None) -> None:
        self.violations = tuple(violations)
        self.metadata = dict(metadata or {})
        super().__init__("; ".join(f"{v.field}: {v.description}" for v in self.violations))


class UnknownNameError(RequestError):
    """A request that names a feature service, view or feature that does not exist."""

    kind = Kind.NOT_FOUND
    reason = "UNKNOWN_NAME"


class LimitError(RequestError):
    """A request that asks for more than the server's limits."""

    reason = "LIMIT_EXCEEDED"


class MalformedRequestError(RequestError):
    """Bytes that are not a message of the method."""

    reason = "MALFORMED_REQUEST"


class TraceError(RecsvcError):
    """A trace that cannot be shown: it is not there, or what keeps traces does not answer as it should."""

    reason = "TRACE"
