"""The proxy passes on what it should, and nothing when it should not."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import pytest

from tests.soak.proxy import Proxy, proxy_to


@asynccontextmanager
async def _echo_behind_proxy() -> AsyncIterator[Proxy]:
    async def echo(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while data := await reader.read(1000):
            writer.write(data)
        writer.close()

    server = await asyncio.start_server(echo, "127.0.0.1", 0)
    host, port = server.sockets[0].getsockname()[:2]
    async with server, proxy_to(f"{host}:{port}") as proxy:
        yield proxy


async def _connect(proxy: Proxy) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
    host, _, port = proxy.address.rpartition(":")
    return await asyncio.open_connection(host, int(port))


async def test_bytes_come_back_through_the_proxy() -> None:
    async with _echo_behind_proxy() as proxy:
        reader, writer = await _connect(proxy)
        writer.write(b"abc" * 50_000)
        assert await reader.readexactly(150_000) == b"abc" * 50_000
        assert (proxy.accepted, proxy.open_connections) == (1, 1)
        writer.close()


async def test_a_cut_connection_is_over_for_its_client() -> None:
    async with _echo_behind_proxy() as proxy:
        reader, writer = await _connect(proxy)
        writer.write(b"a")
        await reader.readexactly(1)
        assert proxy.cut() == 1
        with pytest.raises((ConnectionResetError, asyncio.IncompleteReadError)):
            await reader.readexactly(1)
        writer.close()


async def test_a_stalled_proxy_passes_bytes_on_when_it_goes_on() -> None:
    async with _echo_behind_proxy() as proxy:
        reader, writer = await _connect(proxy)
        proxy.stall()
        writer.write(b"a")
        with pytest.raises(TimeoutError):
            await asyncio.wait_for(reader.readexactly(1), 0.05)
        proxy.go_on()
        assert await reader.readexactly(1) == b"a"
        writer.close()
