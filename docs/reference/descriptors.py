"""The contract's descriptors with the comments of the .proto files, as protoc gives them."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property
from importlib.resources import files
from pathlib import Path

from docs.reference.markdown import require_descriptions
from google.protobuf.descriptor_pb2 import FileDescriptorProto, FileDescriptorSet
from grpc_tools import protoc  # type: ignore[import-untyped]

PROTO = Path(__file__).parents[2] / "proto"

# Numbers of fields in descriptor.proto, of which places in a file are made.
MESSAGE, ENUM, SERVICE = 4, 5, 6
FIELD, ONEOF, VALUE, METHOD = 2, 8, 2, 2


@dataclass(frozen=True)
class Described:
    """One .proto file."""

    proto: FileDescriptorProto

    @cached_property
    def _comments(self) -> dict[tuple[int, ...], str]:
        locations = self.proto.source_code_info.location
        return {tuple(each.path): _without_margin(each.leading_comments) for each in locations}

    def comment(self, *path: int) -> str:
        """What stands above the element at the place, in descriptor.proto's numbers."""
        return self._comments.get(path, "")

    def elements(self) -> Iterator[tuple[str, str]]:
        """Everything that needs a comment: its name, and the comment."""
        for i, message in enumerate(self.proto.message_type):
            yield message.name, self.comment(MESSAGE, i)
            for j, field in enumerate(message.field):
                yield f"{message.name}.{field.name}", self.comment(MESSAGE, i, FIELD, j)
            for j, choice in enumerate(message.oneof_decl):
                if not choice.name.startswith("_"):  # protoc's own, of an optional field
                    yield f"{message.name}.{choice.name}", self.comment(MESSAGE, i, ONEOF, j)
        for i, enum in enumerate(self.proto.enum_type):
            yield enum.name, self.comment(ENUM, i)
            for j, value in enumerate(enum.value):
                yield value.name, self.comment(ENUM, i, VALUE, j)
        for i, service in enumerate(self.proto.service):
            yield service.name, self.comment(SERVICE, i)
            for j, method in enumerate(service.method):
                yield f"{service.name}.{method.name}", self.comment(SERVICE, i, METHOD, j)


def described_files(proto: Path = PROTO) -> list[Described]:
    """The files of the contract, services first; UndescribedError if something has no comment."""
    found = [Described(file) for file in _descriptors(proto).file]
    for each in found:
        require_descriptions(each.proto.name, each.elements())
    return sorted(found, key=lambda each: (not each.proto.service, each.proto.name))


def _descriptors(proto: Path) -> FileDescriptorSet:
    names = [str(path.relative_to(proto)) for path in sorted(proto.glob("lmscore/v1/*.proto"))]
    with tempfile.TemporaryDirectory() as folder:
        output = Path(folder, "descriptors")
        options = ["--include_source_info", f"--descriptor_set_out={output}"]
        known_types = f"-I{files('grpc_tools') / '_proto'}"
        code = protoc.main(["protoc", f"-I{proto}", known_types, *options, *names])
        if code:
            raise RuntimeError(f"protoc ended with {code}")
        return FileDescriptorSet.FromString(output.read_bytes())


def _without_margin(comment: str) -> str:
    """The lines without the blank that stands after the slashes."""
    return "\n".join(line.removeprefix(" ").rstrip() for line in comment.splitlines()).strip("\n")
