"""Exits with 0 if the server in this container says by gRPC's health service that it serves.

    healthcheck.py [HOST:PORT [SERVICE]]

SERVICE is empty for all models, or one model's name. A server with TLS is asked with
LMSCORE_TLS_CA set to the certificate to trust.
"""

from __future__ import annotations

import os
import sys
from pathlib import Path

import grpc
from grpc_health.v1 import health_pb2, health_pb2_grpc

TIMEOUT_SECONDS = 4.0


def _channel(address: str) -> grpc.Channel:
    authority = os.environ.get("LMSCORE_TLS_CA")
    if authority is None:
        return grpc.insecure_channel(address)
    credentials = grpc.ssl_channel_credentials(Path(authority).read_bytes())
    return grpc.secure_channel(address, credentials)


def main() -> int:
    """Ask once."""
    address = sys.argv[1] if len(sys.argv) > 1 else "127.0.0.1:50051"
    service = sys.argv[2] if len(sys.argv) > 2 else ""
    with _channel(address) as channel:
        request = health_pb2.HealthCheckRequest(service=service)
        try:
            answer = health_pb2_grpc.HealthStub(channel).Check(request, timeout=TIMEOUT_SECONDS)
        except grpc.RpcError as error:
            print(f"no answer: {error.code().name}", file=sys.stderr)
            return 1
    print(health_pb2.HealthCheckResponse.ServingStatus.Name(answer.status))
    return 0 if answer.status == health_pb2.HealthCheckResponse.SERVING else 1


if __name__ == "__main__":
    sys.exit(main())
