"""What a visitor reads of an error: their own mistakes in full, of the server's no more than what they can do.

The log has the rest, paths and traces included.
"""

from __future__ import annotations

import logging

from ..errors import AcetateError, OutputError

log = logging.getLogger(__name__)

UNKNOWN = "An error inside acetate; the log of the server says more."
NO_MEMORY = "The memory ran out; use a smaller picture or fewer layers."
NO_DISK = "The server could not write its files; your document is as it was. The log of the server says more."


def explained(error: Exception, what: str) -> str:
    """The sentence for ``error``; ``what`` failed, for the log."""
    if (
        isinstance(error, MemoryError) or type(error).__name__ == "OutOfMemoryError"
    ):  # torch's: not imported to look
        return NO_MEMORY
    if isinstance(error, AcetateError) and not isinstance(error, OutputError):
        return str(error)
    log.error("%s failed", what, exc_info=error)
    return NO_DISK if isinstance(error, OutputError) else UNKNOWN
