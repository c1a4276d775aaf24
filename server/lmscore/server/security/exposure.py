"""What settings leave open to others."""

from __future__ import annotations

import ipaddress
from collections.abc import Iterator

from lmscore.server.settings import Settings


def exposures(settings: Settings) -> Iterator[str]:
    """What others than this machine's users can do that they perhaps should not."""
    if _is_loopback(settings.listen.rpartition(":")[0].strip("[]")):
        return
    if settings.tls_certificate is None:
        yield "others can read texts on their way: set tls_certificate and tls_key"
    if settings.api_keys is None and settings.tls_client_ca is None:
        yield "whoever reaches the port can use it: set api_keys, or tls_client_ca"


def _is_loopback(host: str) -> bool:
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"
