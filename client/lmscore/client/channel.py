"""How a channel behaves: retries, load balancing, keepalive, message sizes."""

from __future__ import annotations

import json
import re
from dataclasses import dataclass
from typing import Any

# Every RPC only reads, so each may be sent again.
_SERVICES = ("lmscore.v1.LanguageModelService", "lmscore.v1.ModelService")

LONGEST_SECONDS = 1e9
"""A longer timeout would overflow gRPC's nanoseconds, and be over at once."""


_NAMED = re.compile(r"(dns|ipv4|ipv6|unix|unix-abstract|vsock|xds|passthrough):.+", re.DOTALL)
_HOST_AND_PORT = re.compile(r"[^/]*:[0-9]{1,5}")


def checked_address(address: str) -> str:
    """The address of a server; ValueError for what gRPC would take for another host or port.

    HOST:PORT, or a name with one of gRPC's schemes. Without a port gRPC asks port 443.
    """
    if _HOST_AND_PORT.fullmatch(address) or _NAMED.fullmatch(address):
        return address
    advice = "; leave out what stands before the host" if "://" in address else ""
    raise ValueError(f"{address!r} is not HOST:PORT{advice}")


def may_be_several(address: str) -> bool:
    """Whether an address can stand for more than one server: a list, or a name for DNS to resolve.

    Only a name that is given as ``dns:`` counts: most others are one machine's.
    """
    return "," in address or address.startswith("dns:")


@dataclass(frozen=True, slots=True)
class ChannelSettings:
    """Settings of a channel that seldom need a change."""

    max_message_bytes: int = 64 * 2**20
    """Largest request and answer. The server has a limit of its own."""
    max_attempts: int = 4
    """Tries of a call that finds the server UNAVAILABLE, within its timeout; 1 to 5 (gRPC's)."""
    keepalive_seconds: float = 60.0
    """How often to ask a silent connection with calls on it whether it is alive."""

    def options(self, address: str) -> list[tuple[str, Any]]:
        """The settings as gRPC's channel arguments, for an address."""
        return [
            ("grpc.service_config", json.dumps(self._service_config(address))),
            ("grpc.max_send_message_length", self.max_message_bytes),
            ("grpc.max_receive_message_length", self.max_message_bytes),
            ("grpc.keepalive_time_ms", round(self.keepalive_seconds * 1000)),
            ("grpc.keepalive_timeout_ms", 20_000),
            # A call's tries are over within a second: those who try to connect only then, which is
            # gRPC's way, fail calls for want of a connection that the next process would take.
            ("grpc.initial_reconnect_backoff_ms", 100),
        ]

    def _service_config(self, address: str) -> dict[str, Any]:
        config: dict[str, Any] = {"loadBalancingConfig": [{"round_robin": {}}]}
        if may_be_several(address):
            # Those that are loading or draining get no calls while others can answer. A server of
            # its own gets them all the same: what it says is better than that nobody is there.
            config["healthCheckConfig"] = {"serviceName": ""}
        if self.max_attempts > 1:
            config["methodConfig"] = [
                {
                    "name": [{"service": service} for service in _SERVICES],
                    "retryPolicy": {
                        "maxAttempts": self.max_attempts,
                        # gRPC adds the jitter: each pause is random around these.
                        "initialBackoff": "0.1s",
                        "maxBackoff": "2s",
                        "backoffMultiplier": 2,
                        "retryableStatusCodes": ["UNAVAILABLE"],
                    },
                }
            ]
            # When most calls fail, retries stop: they would only add to the load. But a server that
            # dies takes all calls that it has with it at once, and those must find another one:
            # so there are as many tokens as gRPC allows.
            config["retryThrottling"] = {"maxTokens": 1000, "tokenRatio": 0.5}
        return config
