"""When to send again what a server had no room for; what it missed, gRPC sends again itself."""

from __future__ import annotations

from lmscore.client.errors import LmscoreError, OverloadedError

_MOST_ATTEMPTS = 8
_FIRST_PAUSE_SECONDS = 0.1


def pause_before_retry(error: LmscoreError, attempt: int) -> float | None:
    """Seconds to wait after that attempt, from 0, has failed; absent if another would not help.

    Only an overload that says when to come back passes by itself. The pauses double: others have
    been told the same.
    """
    if not isinstance(error, OverloadedError) or error.retry_after_seconds is None:
        return None
    if attempt + 1 >= _MOST_ATTEMPTS:
        return None
    return max(error.retry_after_seconds, _FIRST_PAUSE_SECONDS * (1 << attempt))
