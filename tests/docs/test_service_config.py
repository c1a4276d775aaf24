"""The service config that other languages are given."""

from __future__ import annotations

import json

from lmscore.client import ChannelSettings
from tests.docs.markdown import ROOT, blocks


def test_the_service_config_is_the_clients() -> None:
    (documented,) = blocks(ROOT / "docs/clients/service-config.md", "json")
    ours = dict(ChannelSettings().options("dns:///lmscore:50051"))["grpc.service_config"]

    assert json.loads(documented.code) == json.loads(ours)
