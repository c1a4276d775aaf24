"""A port for the processes of one server, and for nobody else."""

from __future__ import annotations

import select
import socket

import pytest

from lmscore.server.ports import check_free, reserved
from lmscore.server.stages import StartError


def sharing_socket() -> socket.socket:
    shared = socket.socket()
    shared.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
    return shared


def test_processes_that_share_can_listen_on_a_reserved_port() -> None:
    with reserved("127.0.0.1:0") as port, sharing_socket() as one, sharing_socket() as other:
        for worker in (one, other):
            worker.bind(("127.0.0.1", port))
            worker.listen()
        for _ in range(8):
            with socket.create_connection(("127.0.0.1", port), timeout=60) as caller:
                # One of the two has it; the reservation itself takes no connection.
                [having] = select.select([one, other], [], [], 60)[0]
                accepted, address = having.accept()
                accepted.close()
                assert address == caller.getsockname()


def test_a_reserved_port_is_refused_before_any_process_listens() -> None:
    with reserved("127.0.0.1:0") as port:
        address = f"127.0.0.1:{port}"
        with pytest.raises(StartError, match=f"cannot listen on {address}: .*in use"):
            check_free(address)
        with pytest.raises(StartError, match="in use"), reserved(address):
            pass


def test_a_reserved_port_is_refused_once_processes_listen() -> None:
    with reserved("127.0.0.1:0") as port, sharing_socket() as worker:
        worker.bind(("127.0.0.1", port))
        worker.listen()
        with pytest.raises(StartError, match="in use"), reserved(f"127.0.0.1:{port}"):
            pass


def test_a_port_of_any_other_server_is_refused_even_one_that_would_share_it() -> None:
    with sharing_socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        address = f"127.0.0.1:{taken.getsockname()[1]}"
        with pytest.raises(StartError, match="in use"), reserved(address):
            pass


def test_what_is_left_of_the_connections_of_an_ended_server_is_no_obstacle() -> None:
    with socket.socket() as listener:
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listener.bind(("127.0.0.1", 0))
        listener.listen()
        place = listener.getsockname()
        caller = socket.create_connection(place)
        answering, _ = listener.accept()
        answering.close()  # the side that closes first keeps the port for a minute
        assert caller.recv(1) == b""
        caller.close()
    with socket.socket() as plain, pytest.raises(OSError, match="in use"):
        plain.bind(place)

    with reserved(f"127.0.0.1:{place[1]}") as port:
        assert port == place[1]


def test_a_port_is_free_again_after_its_reservation() -> None:
    with reserved("127.0.0.1:0") as port:
        pass
    check_free(f"127.0.0.1:{port}")


def test_a_host_that_does_not_exist_is_one_clear_line() -> None:
    with (
        pytest.raises(StartError, match=r"cannot listen on host\.invalid:1: "),
        reserved("host.invalid:1"),
    ):
        pass
