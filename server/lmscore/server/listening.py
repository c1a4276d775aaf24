"""Takes a port for a gRPC server."""

from __future__ import annotations

import grpc

from lmscore.server.ports import Sharing, cannot_listen, check_free


def listen(
    credentials: grpc.ServerCredentials | None,
    sharing: Sharing,
    grpc_server: grpc.aio.Server,
    address: str,
) -> int:
    """Listen there, with TLS if there are credentials; gives the port. Raises StartError."""
    address = f"[::]{address}" if address.startswith(":") else address
    if sharing is Sharing.NONE:
        check_free(address)
    try:
        if credentials is not None:
            return grpc_server.add_secure_port(address, credentials)
        return grpc_server.add_insecure_port(address)
    except RuntimeError as error:
        raise cannot_listen(address, error) from None
