"""What a caller without the right, or over its share, is told."""

from __future__ import annotations

from dataclasses import dataclass

from grpc import StatusCode

from lmscore.server.errors import ServiceError


class ApiKeyMissingError(ServiceError):
    """The server wants an API key, and the call has none."""

    code = StatusCode.UNAUTHENTICATED
    reason = "API_KEY_MISSING"

    def __str__(self) -> str:
        return "this server needs an API key: send it as metadata, authorization: Bearer KEY"


class ApiKeyUnknownError(ServiceError):
    """The call's API key is none of the server's."""

    code = StatusCode.UNAUTHENTICATED
    reason = "API_KEY_UNKNOWN"

    def __str__(self) -> str:
        return "the API key is not one of this server's"


@dataclass(eq=False)
class AdminOnlyError(ServiceError):
    """The key is known, but not for this."""

    code = StatusCode.PERMISSION_DENIED
    reason = "ADMIN_ONLY"

    key: str  # its name
    method: str

    def __str__(self) -> str:
        return f"{self.method} is for administrators, and the API key {self.key} is not one's"


@dataclass(eq=False)
class QuotaExceededError(ServiceError):
    """The key has used up what it may, for now."""

    code = StatusCode.RESOURCE_EXHAUSTED
    reason = "QUOTA_EXCEEDED"

    key: str  # its name
    unit: str  # requests or tokens
    rate: float  # units a second
    retry_after_seconds: float

    def __str__(self) -> str:
        return (
            f"the API key {self.key} is over its {self.rate:g} {self.unit} a second; "
            f"try again in {self.retry_after_seconds:g} s"
        )
