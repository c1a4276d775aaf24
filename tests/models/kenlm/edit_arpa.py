"""Write variants of an ARPA file: without <unk>, and with a 3-gram pruned that ends a 4-gram."""

import sys
from pathlib import Path

UNK = "<unk>"


def counted(sections: list[list[str]]) -> str:
    """An ARPA file of the rows of each order."""
    counts = [f"ngram {n}={len(rows)}" for n, rows in enumerate(sections, start=1)]
    parts = ["\n".join(["\\data\\", *counts])]
    parts += ["\n".join([f"\\{n}-grams:", *rows]) for n, rows in enumerate(sections, start=1)]
    return "\n\n".join([*parts, "\\end\\\n"])


def words(row: str) -> list[str]:
    return row.split("\t")[1].split(" ")


def without_unk(sections: list[list[str]]) -> list[list[str]]:
    return [[row for row in rows if words(row) != [UNK]] for rows in sections]


def pruned(sections: list[list[str]]) -> list[list[str]]:
    """Without the first 3-gram that ends a 4-gram but begins none."""
    contexts = [words(row)[:-1] for row in sections[3]]
    ends = [words(row)[1:] for row in sections[3]]
    victim = next(end for end in ends if end not in contexts)
    rows = [row for row in sections[2] if words(row) != victim]
    return [*sections[:2], rows, sections[3]]


def main(path: Path) -> None:
    body = path.read_text().split("\\1-grams:\n")[1].removesuffix("\\end\\\n")
    blocks = [block.strip("\n") for block in body.split("\n\n")]
    sections = [
        [row for row in block.split("\n") if not row.startswith("\\")] for block in blocks if block
    ]
    for name, edit in (("without_unk", without_unk), ("pruned", pruned)):
        path.with_name(f"{name}.arpa").write_text(counted(edit(sections)))


if __name__ == "__main__":
    main(Path(sys.argv[1]))
