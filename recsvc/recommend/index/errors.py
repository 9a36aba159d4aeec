"""What goes wrong with vector indexes: a directory that cannot be served, a query that has no answer."""

from __future__ import annotations

from recsvc.errors import RecsvcError


class BadIndexError(RecsvcError):
    """An index cannot be built, read or trusted: one line that names the directory and what is wrong with it."""

    reason = "BAD_INDEX"


class BadQueryError(RecsvcError):
    """A search that has no answer: the query, ``k`` or the mask does not fit the index."""

    reason = "BAD_QUERY"
