"""A client that was not written here finds the services through reflection and calls them."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from tests.server.harness import running_on_a_thread, settings_for

BUF = shutil.which("buf", path=str(Path(sys.executable).parent)) or shutil.which("buf")

pytestmark = pytest.mark.skipif(BUF is None, reason="buf is not installed")


def buf_curl(address: str, method: str, message: object) -> dict[str, Any]:
    """What `buf curl` prints for a call: the answer, or the error."""
    url = f"http://{address}/lmscore.v1.{method}"
    plain_grpc = ("--protocol", "grpc", "--http2-prior-knowledge")
    done = subprocess.run(
        [str(BUF), "curl", *plain_grpc, "--data", json.dumps(message), url],
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
    )
    answer: dict[str, Any] = json.loads(done.stdout or done.stderr)
    return answer


def test_buf_curl_scores_ranks_describes_models_and_reads_errors(tiny_arpa: Path) -> None:
    tiny = {"model": {"name": "tiny"}}
    lists = [{"hypotheses": [{"text": "b a"}, {"text": "a b"}]}]
    score, rescore = "LanguageModelService/Score", "LanguageModelService/Rescore"
    with running_on_a_thread(settings_for(tiny_arpa)) as address:
        scored = buf_curl(address, score, {**tiny, "texts": ["a b", "c"]})
        ranked = buf_curl(address, rescore, {**tiny, "lists": lists, "weights": [{}]})
        listed = buf_curl(address, "ModelService/ListModels", {})
        described = buf_curl(address, "ModelService/GetModel", tiny)
        failed = buf_curl(address, score, {"model": {"name": "x"}, "texts": ["a"]})

    assert scored["scores"][0]["logProb"] == pytest.approx(-1.897, abs=1e-3)
    assert scored["scores"][1]["oovCount"] == 1
    assert ranked["lists"][0]["rankings"][0]["order"] == [1, 0]
    assert listed["models"][0]["identity"]["name"] == "tiny"
    assert described["model"] == listed["models"][0]
    assert described["model"]["ngram"]["order"] == 2
    assert failed["code"] == "not_found"
    assert "google.rpc.ErrorInfo" in {detail["type"] for detail in failed["details"]}
