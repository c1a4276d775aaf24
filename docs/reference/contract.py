"""The page of the gRPC contract, from the .proto files and the comments in them."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import groupby

from docs.reference.descriptors import (
    ENUM,
    FIELD,
    MESSAGE,
    METHOD,
    ONEOF,
    SERVICE,
    VALUE,
    Described,
    described_files,
)
from docs.reference.markdown import code, first_sentence, generated_by, listing, page, prose, table
from google.protobuf.descriptor_pb2 import FieldDescriptorProto, FileDescriptorProto

_INTRODUCTION = """\
The package `lmscore.v1`, as [`proto/lmscore/v1`](../../proto/lmscore/v1) has it. Beside it every
server answers [`grpc.health.v1.Health`](https://grpc.io/docs/guides/health-checking/), for all of
it and for each model by its name, and reflection. What the figures mean is in
[scoring-contract.md](../scoring-contract.md), what calls end with in [errors.md](errors.md).

An `optional` field tells "not given" from zero, and its default is said. Any other field that is
not given is zero, empty or false."""
_METADATA = [
    ("`authorization: Bearer KEY`, or `x-api-key: KEY`", "The [API key](../security.md)."),
    ("`lmscore-priority`", "`interactive` or `bulk`: which other calls this one goes before."),
    (
        "`x-request-id`",
        (
            "The caller's id of the call, up to 64 visible ASCII characters; else the server draws "
            "one. It comes back among the trailing metadata, and stands in the log."
        ),
    ),
    ("`traceparent`", "The caller's span, of which the call's own becomes a child."),
]
_SCALARS = {
    number: name.removeprefix("TYPE_").lower()
    for name, number in FieldDescriptorProto.Type.items()
    if name not in {"TYPE_MESSAGE", "TYPE_ENUM", "TYPE_GROUP"}
}


def build() -> str:
    """The whole page; UndescribedError if anything in the contract has no comment."""
    files = described_files()
    return page(
        [
            "# The contract",
            generated_by("`proto/lmscore/v1/*.proto`"),
            _INTRODUCTION,
            _contents(files),
            "## Metadata",
            "What callers may send with a call, besides the request:",
            table(["metadata", "meaning"], _METADATA),
            *(part for file in files for part in _services(file)),
            "## Messages",
            *(part for file in files for part in _messages(file)),
            "## Enumerations",
            *(part for file in files for part in _enums(file)),
        ]
    )


def _contents(files: list[Described]) -> str:
    rows = (
        [
            f"[{code(method.name)}](#{method.name.lower()})",
            service.name,
            first_sentence(file.comment(SERVICE, i, METHOD, j)),
        ]
        for file in files
        for i, service in enumerate(file.proto.service)
        for j, method in enumerate(service.method)
    )
    return table(["method", "service", "does"], rows)


def _services(file: Described) -> Iterator[str]:
    for i, service in enumerate(file.proto.service):
        yield f"## {service.name}"
        yield from _paragraphs(file.comment(SERVICE, i))
        for j, method in enumerate(service.method):
            yield f"### {method.name}"
            request, response = _link(method.input_type), _link(method.output_type)
            given = f"stream of {request}" if method.client_streaming else request
            told = f"stream of {response}" if method.server_streaming else response
            yield f"{given} → {told}"
            yield from _paragraphs(file.comment(SERVICE, i, METHOD, j))


def _messages(file: Described) -> Iterator[str]:
    for i, message in enumerate(file.proto.message_type):
        yield f"### {message.name}"
        yield from _paragraphs(file.comment(MESSAGE, i))
        rows = [_field(file, i, j) for j in range(len(message.field))]
        if rows:
            yield table(["field", "no.", "type", "meaning"], rows)


def _field(file: Described, i: int, j: int) -> list[str]:
    message = file.proto.message_type[i]
    field = message.field[j]
    meaning = prose(file.comment(MESSAGE, i, FIELD, j))
    if field.HasField("oneof_index") and not field.proto3_optional:
        choice = message.oneof_decl[field.oneof_index].name
        of = prose(file.comment(MESSAGE, i, ONEOF, field.oneof_index))
        meaning += f" *One of `{choice}`: {of[:1].lower()}{of[1:].rstrip('.')}.*"
    return [code(field.name), str(field.number), _type(field, _map_entries(file.proto, i)), meaning]


def _map_entries(proto: FileDescriptorProto, i: int) -> dict[str, str]:
    """How the fields that are maps are written, by the type that stands for their entries."""
    message = proto.message_type[i]
    return {
        f".{proto.package}.{message.name}.{entry.name}": "map of "
        + " to ".join(_type(part, {}) for part in entry.field)
        for entry in message.nested_type
        if entry.options.map_entry
    }


def _type(field: FieldDescriptorProto, map_entries: dict[str, str]) -> str:
    if field.type_name in map_entries:
        return map_entries[field.type_name]
    name = _SCALARS.get(field.type) or _link(field.type_name)
    if field.label == FieldDescriptorProto.LABEL_REPEATED:
        return f"repeated {name}"
    return f"optional {name}" if field.proto3_optional else name


def _link(type_name: str) -> str:
    name = type_name.rpartition(".")[2]
    ours = type_name.startswith(".lmscore.")
    return f"[{name}](#{name.lower()})" if ours else code(type_name.lstrip("."))


def _enums(file: Described) -> Iterator[str]:
    for i, enum in enumerate(file.proto.enum_type):
        yield f"### {enum.name}"
        yield from _paragraphs(file.comment(ENUM, i))
        rows = (
            [code(value.name), str(value.number), prose(file.comment(ENUM, i, VALUE, j))]
            for j, value in enumerate(enum.value)
        )
        yield table(["value", "no.", "meaning"], rows)


def _paragraphs(comment: str) -> Iterator[str]:
    """The comment's paragraphs; indented lines keep their shape."""
    for paragraph in comment.split("\n\n"):
        for indented, lines in groupby(paragraph.splitlines(), lambda line: line.startswith("  ")):
            text = "\n".join(line.removeprefix("  ") for line in lines)
            yield listing(text) if indented else prose(text)
