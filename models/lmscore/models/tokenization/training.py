"""Learning the pieces of words from text: byte-pair encoding, and a unigram model.

Gage, "A New Algorithm for Data Compression", 1994; Kudo, "Subword Regularization", ACL 2018. Both
give a Hugging Face tokenizer whose ids 0 and 1 are ``</s>`` and ``<unk>``, and both give the same
one whenever they are given the same text.
"""

from __future__ import annotations

import io
import json
import re
from collections.abc import Iterable, Iterator
from typing import TYPE_CHECKING, Any

from lmscore.models.errors import CapabilityError
from lmscore.models.vocabulary import EOS, UNK

if TYPE_CHECKING:
    from tokenizers import Tokenizer

_LONGEST_LINE = 1 << 24  # bytes; SentencePiece leaves out longer ones
_THREADS = 4  # sums depend on how many share them, so that it must not be the machine's number


def train_bpe(
    batches: Iterable[list[str]], size: int, *, byte_level: bool, least_count: int
) -> Tokenizer:
    """Pieces made by joining, again and again, the two that most often stand together.

    byte_level: they begin as bytes, so that nothing is unknown. Joins that would occur less often
    than least_count are not made, so that there may be fewer pieces than size. Raises ValueError
    for a size that is less than the text's characters need.
    """
    tokenizers = _library("tokenizers")
    if byte_level:
        tokenizer: Tokenizer = tokenizers.Tokenizer(tokenizers.models.BPE())
        tokenizer.pre_tokenizer = tokenizers.pre_tokenizers.ByteLevel(add_prefix_space=False)
        tokenizer.decoder = tokenizers.decoders.ByteLevel()
        alphabet = tokenizers.pre_tokenizers.ByteLevel.alphabet()
    else:
        tokenizer = tokenizers.Tokenizer(tokenizers.models.BPE(unk_token=UNK))
        tokenizer.pre_tokenizer = tokenizers.pre_tokenizers.Metaspace()
        tokenizer.decoder = tokenizers.decoders.Metaspace()
        alphabet = []
    trainer = tokenizers.trainers.BpeTrainer(
        vocab_size=size,
        min_frequency=least_count,
        initial_alphabet=sorted(alphabet),
        special_tokens=[EOS, UNK],
        show_progress=False,
    )
    tokenizer.train_from_iterator(batches, trainer)
    if tokenizer.get_vocab_size() > size:
        raise _too_small(tokenizer.get_vocab_size())
    return tokenizer


def train_unigram(batches: Iterable[list[str]], size: int, *, byte_fallback: bool) -> Tokenizer:
    """Pieces whose probabilities, as words of a unigram model, make the text most likely.

    byte_fallback: characters that are not pieces are spelled in bytes, so that nothing is unknown.
    There are fewer pieces than size if the text has no more. Raises ValueError for a size that is
    less than the text's characters need.
    """
    tokenizers = _library("tokenizers")
    pieces = _unigram_pieces(batches, size, byte_fallback=byte_fallback)
    model = tokenizers.models.Unigram(pieces, unk_id=1, byte_fallback=byte_fallback)
    tokenizer: Tokenizer = tokenizers.Tokenizer(model)
    tokenizer.add_special_tokens([EOS, UNK])
    tokenizer.pre_tokenizer = tokenizers.pre_tokenizers.Metaspace()
    metaspace = tokenizers.decoders.Metaspace()
    tokenizer.decoder = (
        tokenizers.decoders.Sequence([tokenizers.decoders.ByteFallback(), metaspace])
        if byte_fallback
        else metaspace
    )
    return tokenizer


def _unigram_pieces(
    batches: Iterable[list[str]], size: int, *, byte_fallback: bool
) -> list[tuple[str, float]]:
    """Pieces by id with their log-probabilities.

    By SentencePiece, as the trainer of tokenizers breaks ties by chance.
    """
    sentencepiece = _library("sentencepiece")
    lines = _Lines(batches)
    model = io.BytesIO()
    try:
        sentencepiece.SentencePieceTrainer.train(
            sentence_iterator=iter(lines),
            model_writer=model,
            model_type="unigram",
            vocab_size=size,
            hard_vocab_limit=False,
            character_coverage=1.0,
            byte_fallback=byte_fallback,
            normalization_rule_name="identity",
            remove_extra_whitespaces=False,
            max_sentence_length=_LONGEST_LINE,
            num_threads=_THREADS,
            eos_id=0,
            unk_id=1,
            bos_id=-1,
            pad_id=-1,
            minloglevel=4,
        )
    except RuntimeError as error:
        if lines.error is None:
            raise _explained(error) from None
    if lines.error is not None:
        raise lines.error
    processor = sentencepiece.SentencePieceProcessor(model_proto=model.getvalue())
    ids = list(range(processor.get_piece_size()))
    return list(zip(processor.id_to_piece(ids), processor.get_score(ids), strict=True))


def _explained(error: RuntimeError) -> ValueError:
    """What SentencePiece has to say, in words that fit here."""
    needed = re.search(r"smaller than required_chars\. \d+ vs (\d+)", str(error))
    if needed is not None:
        return _too_small(int(needed[1]))
    return ValueError(str(error).rpartition("] ")[2] or "SentencePiece learned nothing")


def _too_small(needed: int) -> ValueError:
    return ValueError(f"the characters of the text alone need {needed}")


class _Lines:
    """Lines as SentencePiece takes them; an error of their reader is kept, and ends them."""

    def __init__(self, batches: Iterable[list[str]]) -> None:
        self._batches = batches
        self.error: Exception | None = None

    def __iter__(self) -> Iterator[str]:
        try:
            for batch in self._batches:
                # It would leave out a line with one of these, which separate words.
                yield from (line.replace("\t", " ").replace("\0", " ") for line in batch if line)
        except Exception as error:  # noqa: BLE001 it is raised where it can be told apart
            self.error = error


def _library(name: str) -> Any:
    try:
        return __import__(name)
    except ModuleNotFoundError:
        raise CapabilityError(
            f"learning a tokenizer needs {name}: pip install 'lmscore[server]'"
        ) from None


def count_pieces(tokenizer: Tokenizer, batches: Iterable[list[str]]) -> tuple[int, int]:
    """How many pieces lines are split into, and how many characters these have."""
    pieces = characters = 0
    for batch in batches:
        encodings = tokenizer.encode_batch_fast(batch, add_special_tokens=False)
        pieces += sum(map(len, encodings))
        characters += sum(map(len, batch))
    return pieces, characters


def to_json(tokenizer: Tokenizer) -> str:
    """What a tokenizer.json holds."""
    return json.dumps(json.loads(tokenizer.to_str()), ensure_ascii=False, indent=1) + "\n"
