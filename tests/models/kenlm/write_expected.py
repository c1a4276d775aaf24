"""Write fixtures/expected.json: what KenLM scores with every binary fixture."""

import json
import random
from pathlib import Path

import kenlm

FIXTURES = Path(__file__).parent / "fixtures"
SEED = 20


def texts() -> list[str]:
    """Texts of the corpus, shuffled ones, and ones with unknown words and marks."""
    lines = (FIXTURES / "corpus.txt").read_text().splitlines()
    random.seed(SEED)
    shuffled = [" ".join(random.sample(line.split(), len(line.split()))) for line in lines[::5]]
    odd = [
        "",
        "submarine",
        "the submarine left the harbour",
        "we left </s> the boat",
        "<unk> <unk>",
    ]
    return lines[::6] + shuffled + odd


def event(log10_prob: float, length: int, oov: bool) -> list[float]:
    """An event as full_scores gives it, in as few digits as tell its float32 from all others."""
    return [float(f"{log10_prob:.9g}"), length, int(oov)]


def main() -> None:
    batch = texts()
    scores = {}
    for path in sorted(FIXTURES.glob("*.bin")):
        model = kenlm.Model(str(path))
        scores[path.stem] = [[event(*e) for e in model.full_scores(text)] for text in batch]
    document = {"texts": batch, "log10_prob_length_oov": scores}
    (FIXTURES / "expected.json").write_text(json.dumps(document, ensure_ascii=False))


if __name__ == "__main__":
    main()
