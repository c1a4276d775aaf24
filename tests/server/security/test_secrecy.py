"""What was sent stays out of the log, and nothing that a model holds is run."""

from __future__ import annotations

import ast
import json
import logging
import pickle
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Literal

import grpc
import pytest
import structlog

from lmscore.models.errors import ModelError
from lmscore.models.loading import load_model
from lmscore.server.interceptor import CallInterceptor
from lmscore.server.logs import configure_logs
from lmscore.v1 import language_model_service_pb2 as wire

ROOT = Path(__file__).resolve().parents[3]
PRIVATE = "the patient's name is Xerxes"


@pytest.fixture(autouse=True)
def _usual_logs() -> Iterator[None]:
    handlers = list(logging.getLogger().handlers)
    yield
    structlog.reset_defaults()
    logging.getLogger().handlers[:] = handlers


def log_of(capfd: pytest.CaptureFixture[str]) -> str:
    """What was written to standard error; gRPC's own lines may come at any time."""
    lines = capfd.readouterr().err.splitlines(keepends=True)
    return "".join(line for line in lines if not re.match(r"[IWEF]\d{4} \d\d:\d\d:", line))


async def failing_score(log_format: Literal["console", "json"], *, show_texts: bool) -> None:
    """A call of a handler that has a bug, and whose exceptions hold a text in every way."""

    async def handler(request: wire.ScoreRequest, _context: Any) -> wire.ScoreResponse:
        text = request.texts[0]
        known: dict[str, wire.ScoreResponse] = {}
        try:
            return known[text]
        except KeyError as error:
            error.add_note(text)
            raise ExceptionGroup(text, [ValueError(text), RuntimeError([text])]) from error

    configure_logs(log_format, show_texts=show_texts)
    server = grpc.aio.server(interceptors=[CallInterceptor()])
    behaviour: Any = handler
    method = grpc.unary_unary_rpc_method_handler(
        behaviour, wire.ScoreRequest.FromString, wire.ScoreResponse.SerializeToString
    )
    service = "lmscore.v1.LanguageModelService"
    handlers = grpc.method_handlers_generic_handler(service, {"Score": method})
    server.add_generic_rpc_handlers((handlers,))
    port = server.add_insecure_port("127.0.0.1:0")
    await server.start()
    try:
        async with grpc.aio.insecure_channel(f"127.0.0.1:{port}") as channel:
            request = wire.ScoreRequest(texts=[PRIVATE]).SerializeToString()
            call: Any = channel.unary_unary(f"/{service}/Score")
            with pytest.raises(grpc.RpcError) as failed:
                await call(request)
            assert failed.value.code() is grpc.StatusCode.INTERNAL
    finally:
        await server.stop(None)


@pytest.mark.parametrize("log_format", ["console", "json"])
async def test_the_log_of_a_bug_tells_where_it_is_and_nothing_that_was_sent(
    log_format: Literal["console", "json"], capfd: pytest.CaptureFixture[str]
) -> None:
    await failing_score(log_format, show_texts=False)

    log = log_of(capfd)
    assert "Xerxes" not in log
    for told in ("internal error", "incident", "KeyError", "ExceptionGroup", "ValueError"):
        assert told in log
    assert "in handler" in log
    if log_format == "json":
        events = [json.loads(line)["event"] for line in log.splitlines()]
        assert events.count("internal error") == 1


@pytest.mark.parametrize("log_format", ["console", "json"])
async def test_texts_are_in_the_log_if_asked_for(
    log_format: Literal["console", "json"], capfd: pytest.CaptureFixture[str]
) -> None:
    await failing_score(log_format, show_texts=True)

    assert f"text = {PRIVATE!r}" in log_of(capfd).replace('\\"', '"')


def test_lines_of_other_libraries_are_lines_of_ours_without_what_fills_them(
    capfd: pytest.CaptureFixture[str],
) -> None:
    configure_logs("json")
    try:
        raise ValueError(PRIVATE)
    except ValueError as error:
        logging.getLogger("asyncio").error(
            "never retrieved %s\nfuture: Xerxes", PRIVATE, exc_info=error
        )
    logging.getLogger("asyncio").info("nothing of this")

    [line] = log_of(capfd).splitlines()
    told = json.loads(line)
    assert (told["logger"], told["level"]) == ("asyncio", "error")
    assert told["event"].startswith("never retrieved")
    assert "ValueError" in told["exception"]
    assert "Xerxes" not in line


def test_a_collector_that_cannot_be_reached_is_named(capfd: pytest.CaptureFixture[str]) -> None:
    configure_logs("json")
    exporter = logging.getLogger("opentelemetry.exporter.otlp")
    exporter.error("Failed to export to %s: %s", "collector:4317", "UNAVAILABLE")

    [line] = log_of(capfd).splitlines()
    assert json.loads(line)["event"] == "Failed to export to collector:4317: UNAVAILABLE"


def modules_of(*roots: str) -> dict[str, ast.Module]:
    """The project's modules that these import, at their top or within functions, and so on."""
    found: dict[str, ast.Module] = {}
    waiting = list(roots)
    while waiting:
        name = waiting.pop()
        package = name.split(".")[1] if "." in name else ""
        stem = ROOT / ("proto" if package == "v1" else package) / name.replace(".", "/")
        path = next(
            (p for p in (stem.with_suffix(".py"), stem / "__init__.py") if p.exists()), None
        )
        if name in found or path is None:
            continue
        found[name] = tree = ast.parse(path.read_text())
        for node in ast.walk(tree):
            if isinstance(node, ast.Import):
                waiting += [alias.name for alias in node.names]
            elif isinstance(node, ast.ImportFrom) and node.module:
                waiting += [node.module, *(f"{node.module}.{a.name}" for a in node.names)]
    return found


def dangers(tree: ast.Module) -> Iterator[str]:
    """What runs, or may run, code that a file holds."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Import | ast.ImportFrom):
            names = [getattr(node, "module", "") or "", *(alias.name for alias in node.names)]
            yield from {"pickle", "marshal", "shelve", "dill", "joblib", "cloudpickle"} & {
                part for name in names for part in name.split(".")
            }
        elif isinstance(node, ast.Attribute) and isinstance(node.value, ast.Name):
            place = f"{node.value.id}.{node.attr}"
            if place in {"torch.load", "torch.jit", "torch.package", "torch.hub"}:
                yield place
        elif isinstance(node, ast.keyword) and node.arg == "allow_pickle":
            yield "allow_pickle"


def test_nothing_that_the_server_imports_unpickles() -> None:
    reached = modules_of("lmscore.server.command")

    assert "lmscore.models.network.checkpoint" in reached  # the search goes that far
    assert "lmscore.server.service" in reached
    assert {name: [*dangers(tree)] for name, tree in reached.items() if [*dangers(tree)]} == {}
    importer = modules_of("lmscore.models.network.importers.torch_file")
    assert any([*dangers(tree)] for tree in importer.values())  # the search would find it


class Bomb:
    """Makes a file when it is unpickled."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> Any:
        return Path.touch, (self.path,)


@pytest.mark.parametrize(
    "name", ["model.pt", "model.safetensors", "pytorch_model.bin", "config.json", "m.arpa"]
)
def test_a_pickle_among_the_files_of_a_model_is_refused_and_not_run(
    tmp_path: Path, name: str
) -> None:
    folder = tmp_path / "model"
    folder.mkdir()
    (folder / "config.json").write_text("{}")
    (folder / name).write_bytes(pickle.dumps(Bomb(tmp_path / "exploded")))
    for path in (folder, folder / name):
        with pytest.raises(ModelError):
            load_model(path)
    assert not (tmp_path / "exploded").exists()
