"""Vocabularies of other programs, each of which lists tokens its own way."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lmscore.models.errors import ModelFormatError
from lmscore.models.language_model import Texts
from lmscore.models.network.importers.sources import SOURCES, Source
from lmscore.models.network.importers.special_tokens import (
    SpecialTokens,
    find_specials,
)
from lmscore.models.network.importers.token_list import read_token_list
from lmscore.models.network.importers.tokenizer_files import (
    ImportedTokenizer,
    VocabularyOptions,
    read_tokenizer,
)
from lmscore.models.network.importers.word_list import corpus_words, read_word_list
from lmscore.models.tokenization.loading import load_tokenizer

WORDS, _, ESPNET2, ESPNET1, FAIRSEQ, ICEFALL = SOURCES


def write(path: Path, text: str) -> Path:
    path.write_text(text, encoding="utf-8")
    return path


def tokenizer_of(
    path: Path, rows: int, source: Source = WORDS, **options: object
) -> ImportedTokenizer:
    given_options = VocabularyOptions(file=path, **options)  # type: ignore[arg-type]
    return read_tokenizer(path.parent / "model.pt", source, rows, given_options)


def special(tokenizer: ImportedTokenizer) -> tuple[str, str, str | None]:
    return tokenizer.spec.bos, tokenizer.spec.eos, tokenizer.spec.unk


# A file, the rows of the network, its program, and what is to be found: style, tokens, specials.
STYLES: dict[str, tuple[str, int, Source, str, str, tuple[str, str, str | None]]] = {
    "colorlessgreenRNNs": (
        "a\nb\n<unk>\n<eos>\n", 4, WORDS, "list", "a b <unk> <eos>", ("<eos>", "<eos>", "<unk>"),
    ),
    "windows lines": (
        "\ufeffa\r\n<s>\r\n</s>\r\n", 3, WORDS, "list", "a <s> </s>", ("<s>", "</s>", None),
    ),
    "fairseq": (
        "the 90\na 5\nb 5\n", 7, FAIRSEQ, "fairseq dictionary",
        "<s> <pad> </s> <unk> the a b", ("</s>", "</s>", "<unk>"),
    ),
    "fairseq, padded here": (
        "the 90\na 5\nb 5\n", 8, FAIRSEQ, "fairseq dictionary",
        "<s> <pad> </s> <unk> the a b madeupword0000", ("</s>", "</s>", "<unk>"),
    ),
    "fairseq, padded there": (
        "the 90\na 5\nb 5\nmadeupword0000 0\n", 8, FAIRSEQ, "fairseq dictionary",
        "<s> <pad> </s> <unk> the a b madeupword0000", ("</s>", "</s>", "<unk>"),
    ),
    "fairseq, overwritten": (
        "the 90\n<unk> 7 #fairseq:overwrite\n", 5, FAIRSEQ, "fairseq dictionary",
        "<s> <pad> </s> <unk> the", ("</s>", "</s>", "<unk>"),
    ),
    "Kaldi": (
        "<eps> 0\na 1\n<unk> 2\n<s> 3\n</s> 4\n", 5, WORDS, "words with ids",
        "<eps> a <unk> <s> </s>", ("<s>", "<s>", "<unk>"),
    ),
    "icefall": (
        "<blk> 0\n<sos/eos> 1\n<unk> 2\n\u2581a 3\n", 4, ICEFALL, "words with ids",
        "<blk> <sos/eos> <unk> \u2581a", ("<sos/eos>", "<sos/eos>", "<unk>"),
    ),
    "ESPnet1": (
        "<blank>\n<unk>\na\n<eos>\n", 4, ESPNET1, "list", "<blank> <unk> a <eos>",
        ("<eos>", "<eos>", "<unk>"),
    ),
    "ESPnet2": (
        "lm: seq_rnn\ntoken_list:\n- <blank>\n- <unk>\n- 'y'\n- <sos/eos>\ninit: null\n", 4,
        ESPNET2, "ESPnet configuration", "<blank> <unk> y <sos/eos>",
        ("<sos/eos>", "<sos/eos>", "<unk>"),
    ),
}  # fmt: skip


@pytest.mark.parametrize("name", STYLES)
def test_a_vocabulary_is_read_as_its_program_reads_it(name: str, tmp_path: Path) -> None:
    text, rows, source, style, tokens, specials = STYLES[name]
    tokenizer = tokenizer_of(write(tmp_path / "given", text), rows, source)

    assert tokenizer.style == style
    assert tokenizer.tokens == tokens.split(" ")
    assert special(tokenizer) == specials
    assert tokenizer.files == {"vocab.txt": (tokens.replace(" ", "\n") + "\n").encode()}


def test_a_configuration_beside_an_espnet2_network_is_found(tmp_path: Path) -> None:
    write(tmp_path / "config.yaml", "token_list:\n- a\n- <sos/eos>\n")

    checkpoint = tmp_path / "model.pt"
    assert read_tokenizer(checkpoint, ESPNET2, 2, VocabularyOptions()).tokens == ["a", "<sos/eos>"]
    with pytest.raises(ModelFormatError, match="has no vocabulary; its embedding has 2 rows"):
        read_tokenizer(checkpoint, WORDS, 2, VocabularyOptions())


def test_words_of_a_corpus_are_counted_by_first_appearance(tmp_path: Path) -> None:
    write(tmp_path / "train.txt", " a b a\n\nc b\n")
    write(tmp_path / "valid.txt", "b d\n")
    write(tmp_path / "test.txt", "e a")

    assert corpus_words([tmp_path]).tokens == ["a", "b", "<eos>", "c", "d", "e"]
    files = [tmp_path / f"{name}.txt" for name in ("test", "train")]
    assert corpus_words(files).tokens == ["e", "a", "<eos>", "b", "c"]


@given(st.lists(st.lists(st.text("ab\u00e9", min_size=1), max_size=4), max_size=6))
def test_all_words_of_a_corpus_have_one_row(
    tmp_path_factory: pytest.TempPathFactory, lines: list[list[str]]
) -> None:
    text = "".join(" ".join(line) + "\n" for line in lines)
    path = write(tmp_path_factory.mktemp("corpus") / "text", text)
    tokens = corpus_words([path]).tokens

    in_order = [word for line in lines for word in [*line, "<eos>"]]
    assert sorted(tokens) == sorted(set(in_order))
    assert [in_order.index(token) for token in tokens] == sorted(map(in_order.index, tokens))


SCALARS = {
    "<blank>": "<blank>",
    "'y'": "y",
    "''''": "'",
    "'it''s'": "it's",
    '"\\u2581THE"': "\u2581THE",
    '"\\x41\\U0001F600\\t\\"\\\\"': 'A\U0001f600\t"\\',
    "\u2581don't": "\u2581don't",
    "'#'": "#",
    "'-'": "-",
    '"a: b"': "a: b",
}
"""Scalars of YAML in the styles that PyYAML chooses from, and what its specification reads."""


@pytest.mark.parametrize("indent", ["", "    "])
def test_scalars_of_yaml_are_read_in_all_their_styles(indent: str, tmp_path: Path) -> None:
    text = "a: 1\ntoken_list:\n" + "".join(f"{indent}- {scalar}\n" for scalar in SCALARS)

    found = read_token_list(tmp_path / "config.yaml", f"{text}init: null\n- no token\n")
    assert found == list(SCALARS.values())


@pytest.mark.parametrize("item", ['- "cut', "- 'cut", "- ", "  folded", "- - a"])
def test_what_is_unclear_in_yaml_is_refused_with_its_line(item: str, tmp_path: Path) -> None:
    path = tmp_path / "config.yaml"
    with pytest.raises(ModelFormatError) as caught:
        read_token_list(path, f"token_list:\n- a\n{item}\n- b\n")

    assert str(caught.value) == (
        f'{path}:3: token_list: "{item.strip()}" is not one token; write the tokens to a file, one '
        "a line in the order of their ids, and give that as the vocabulary"
    )


ERRORS = {
    "empty line": ("a\n\n</s>\n", 3, ":2: an empty line"),
    "twice": ("a\nb\na\n</s>\n", 4, ':3: "a" is already on line 1'),
    "twice in fairseq": ("a 9\nb 5\na 3\n", 7, ':3: "a" is already on line 1'),
    "unsorted ids": ("a 1\nb 0\n", 2, ":1: id 1 where 0 comes next: sort the lines by their ids"),
    "too few": (
        "a\nb\n</s>\n", 5, (": read as list, has 3 tokens (a, b, </s> … b, </s>), but the "
        "network's embedding has 5 rows: it is not this network's vocabulary"),
    ),
    "no end": (
        "a\nb\n", 2, (": which token ends a text? None is called </s>, <eos>, <sos/eos>, <EOS>, "
        "[EOS], <|endoftext|>; say --eos TOKEN, and --bos TOKEN if another one stands before a "
        "text. It begins with a, b and ends with b"),
    ),
    "a path for a list": (
        "token_list: data/tokens.txt\n", 2,
        ":1: token_list is data/tokens.txt: if that is a file, give it as the vocabulary",
    ),
}  # fmt: skip


@pytest.mark.parametrize("name", ERRORS)
def test_a_wrong_vocabulary_is_told_with_its_place(name: str, tmp_path: Path) -> None:
    text, rows, problem = ERRORS[name]
    path = write(tmp_path / "given", text)
    with pytest.raises(ModelFormatError) as caught:
        tokenizer_of(path, rows)

    assert str(caught.value) == f"{path}{problem}"


def test_a_vocabulary_that_is_not_utf8_is_told_with_its_line(tmp_path: Path) -> None:
    (tmp_path / "given").write_bytes(b"a\n\xff\n")
    with pytest.raises(ModelFormatError, match=":2: not UTF-8: invalid start byte"):
        read_word_list(tmp_path / "given", 2)


def test_special_tokens_can_be_named(tmp_path: Path) -> None:
    path = tmp_path / "given"
    tokens = ["BEGIN", "END", "</s>", "OOV", "a"]
    names = SpecialTokens("BEGIN", "END", "OOV")
    found = find_specials(path, tokens, names, "either")
    assert (found.bos, found.eos, found.unk) == ("BEGIN", "END", "OOV")

    only_end = find_specials(path, tokens, SpecialTokens(eos="END"), "either")
    assert (only_end.bos, only_end.eos, only_end.unk) == ("END", "END", None)
    with pytest.raises(ModelFormatError) as caught:
        find_specials(path, tokens, SpecialTokens(unk="UNK"), "either")
    assert str(caught.value) == (
        f'{path}: has no token "UNK", which --unk names; it begins with BEGIN, END, </s>, OOV, a'
    )


def test_what_begins_a_text_ends_it_too_where_nothing_else_does(tmp_path: Path) -> None:
    found = find_specials(tmp_path, ["X", "a"], SpecialTokens(bos="X"), "either")
    assert (found.bos, found.eos, found.unk) == ("X", "X", None)


def test_five_tokens_show_how_a_vocabulary_begins(tmp_path: Path) -> None:
    with pytest.raises(ModelFormatError, match=r"it begins with a, b, c, d, e$"):
        find_specials(tmp_path, list("abcdefg"), SpecialTokens(eos="X"), "either")


def test_a_line_of_more_than_a_word_and_its_id_has_no_id(tmp_path: Path) -> None:
    path = write(tmp_path / "given", "</s> 0 x\na 1 y\n")
    with pytest.raises(ModelFormatError) as caught:
        tokenizer_of(path, 2)
    assert "words with ids" not in str(caught.value)


def test_an_empty_tokenizer_json_has_no_tokens(tmp_path: Path) -> None:
    path = write(tmp_path / "tokenizer.json", '{"model": {"vocab": {}}, "added_tokens": []}')
    with pytest.raises(ModelFormatError, match="has 0 tokens"):
        tokenizer_of(path, 4)


def test_characters_have_a_blank_and_escapes(tmp_path: Path) -> None:
    path = write(tmp_path / "given", "<unk>\n<space>\na\n\\n\n<eos>\n<pad>\n")
    tokenizer = tokenizer_of(path, 6, tokenizer="characters")
    (tmp_path / "vocab.txt").write_bytes(tokenizer.files["vocab.txt"])

    loaded = load_tokenizer(tmp_path, tokenizer.spec)
    assert loaded.encode(Texts.from_strings(["a a\n?"])).token_ids.tolist() == [2, 1, 2, 3, 0]
    assert loaded.encode(Texts.from_strings(["<pad>"])).token_ids.tolist() == [0, 0, 2, 0, 0]
    assert loaded.vocabulary.token(5) == "<pad>"


def test_subword_nmt_needs_its_merges(tmp_path: Path) -> None:
    path = write(tmp_path / "given", "lo@@\nw\n</s>\n<unk>\n")
    with pytest.raises(ModelFormatError, match="subword-nmt needs its merges too: --codes FILE"):
        tokenizer_of(path, 4, tokenizer="subword-nmt")

    codes = write(tmp_path / "codes", "#version: 0.2\nl o\n")
    tokenizer = tokenizer_of(path, 4, tokenizer="subword-nmt", codes=codes)
    for name, content in tokenizer.files.items():
        (tmp_path / name).write_bytes(content)
    loaded = load_tokenizer(tmp_path, tokenizer.spec)
    assert loaded.encode(Texts.from_strings(["low"])).token_ids.tolist() == [0, 1]


def test_a_tokenizer_json_is_taken_as_it_is(tmp_path: Path) -> None:
    tokenizers = pytest.importorskip("tokenizers")
    model = tokenizers.models.WordLevel({"a": 0, "b": 1, "[UNK]": 2}, unk_token="[UNK]")  # noqa: S106 no password
    library = tokenizers.Tokenizer(model)
    library.pre_tokenizer = tokenizers.pre_tokenizers.Whitespace()
    library.add_special_tokens(["</s>"])
    library.save(str(tmp_path / "tokenizer.json"))
    tokenizer = tokenizer_of(tmp_path / "tokenizer.json", 4)

    assert tokenizer.tokens == ["a", "b", "[UNK]", "</s>"]
    assert tokenizer.spec.type == "huggingface"
    assert special(tokenizer) == ("</s>", "</s>", "[UNK]")
    assert json.loads(tokenizer.files["tokenizer.json"])["model"]["type"] == "WordLevel"
    loaded = load_tokenizer(tmp_path, tokenizer.spec)
    assert loaded.encode(Texts.from_strings(["b a c"])).token_ids.tolist() == [1, 0, 2]


def test_what_is_no_tokenizer_json_is_refused(tmp_path: Path) -> None:
    for text in ("[", "[]", "{}", '{"model": {"vocab": [1]}, "added_tokens": []}'):
        path = write(tmp_path / "tokenizer.json", text)
        with pytest.raises(ModelFormatError, match=r"not a tokenizer\.json"):
            tokenizer_of(path, 4)


def test_a_sentencepiece_model_is_taken_as_it_is(tmp_path: Path) -> None:
    sentencepiece = pytest.importorskip("sentencepiece")
    text = write(tmp_path / "text", "the cat\nthe dog\na cat and a dog\n" * 20)
    sentencepiece.SentencePieceTrainer.train(
        input=str(text), model_prefix=str(tmp_path / "bpe"), vocab_size=24, model_type="bpe",
        minloglevel=2,
    )  # fmt: skip
    tokenizer = tokenizer_of(tmp_path / "bpe.model", 24)
    (tmp_path / "tokenizer.model").write_bytes(tokenizer.files["tokenizer.model"])

    assert tokenizer.tokens[:3] == ["<unk>", "<s>", "</s>"]
    assert special(tokenizer) == ("<s>", "</s>", "<unk>")
    assert load_tokenizer(tmp_path, tokenizer.spec).vocabulary.token(5) == tokenizer.tokens[5]


def test_every_row_of_an_embedding_keeps_its_token(tmp_path: Path) -> None:
    names = [f"w{i * 7 % 50}" for i in range(50)] + ["</s>"]  # in no order that sorting gives
    path = write(tmp_path / "given", "".join(f"{name}\n" for name in names))
    tokenizer = tokenizer_of(path, 51)
    (tmp_path / "vocab.txt").write_bytes(tokenizer.files["vocab.txt"])

    loaded = load_tokenizer(tmp_path, tokenizer.spec)
    assert loaded.vocabulary.tokens(list(range(51))) == names
