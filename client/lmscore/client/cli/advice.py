"""What to do about an error of a server, in the command's own words."""

from __future__ import annotations

from lmscore.client.credentials import API_KEY_VARIABLE
from lmscore.client.errors import DeadlineExceededError, LmscoreError, UnauthenticatedError

_BY_REASON = {
    "MODEL_LOADING": "`lmscore models --wait` returns when it is ready",
    "ADMIN_ONLY": "--address takes that of the server's --admin",
}
_BY_WORDS = {  # those of gRPC and OpenSSL, which have no codes for it
    "CERTIFICATE_VERIFY_FAILED": "--tls-ca FILE names the authorities to trust",
    "Hostname Verification Check failed": "--tls-server-name NAME says whose it may be",
    "WRONG_VERSION_NUMBER": "the server may be without TLS: leave out --tls",
    "Connection refused": "no server listens there; --address says where one does",
    "Socket closed": "if the server has TLS, give --tls or --tls-ca FILE",
}


def advised(error: LmscoreError) -> str:
    """The error's message, with what can be done about it."""
    message = str(error)
    advice = _advice(error, message)
    return f"{message} ({advice})" if advice else message


def _advice(error: LmscoreError, message: str) -> str:
    if error.reason in _BY_REASON:
        return _BY_REASON[error.reason]
    if isinstance(error, UnauthenticatedError):
        return f"--api-key-file FILE or {API_KEY_VARIABLE} has the key"
    if isinstance(error, DeadlineExceededError):
        return "--timeout SECONDS says how long to wait"
    return next((advice for words, advice in _BY_WORDS.items() if words in message), "")
