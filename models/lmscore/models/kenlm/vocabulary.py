"""The words of a KenLM binary by id, and their ids.

Words, where stored, end the file in the order of their ids, each followed by a NUL.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from lmscore.models.errors import CapabilityError, ModelFormatError
from lmscore.models.kenlm.hashing import hash_words
from lmscore.models.kenlm.sections import Sections
from lmscore.models.kenlm.word_hashes import UNK_ID, HashedWords, SortedWords, find_ids
from lmscore.models.vocabulary import BOS, EOS, UNK

_NUL = 0


class KenlmVocabulary:
    """A vocabulary in a mapped file; nothing of it is copied before a word is asked for."""

    unk_id = UNK_ID

    def __init__(
        self,
        sections: Sections,
        hashes: HashedWords | SortedWords,
        stored: NDArray[np.uint8] | None,
    ) -> None:
        """Sections names the file in errors; stored are the bytes of the words, if kept."""
        self._hashes = hashes
        self._stored = stored
        self.bos_id = self._required_id(BOS, sections)
        self.eos_id = self._required_id(EOS, sections)

    def _required_id(self, token: str, sections: Sections) -> int:
        found = self._find(token)
        if found == UNK_ID:
            raise ModelFormatError(sections.path, f"the vocabulary has no {token}")
        return found

    def __len__(self) -> int:
        return self._hashes.size

    @property
    def has_words(self) -> bool:
        """Whether ids can be turned into words."""
        return self._stored is not None

    def id(self, token: str) -> int:
        """The token's id; unk_id for one that is not here, and for ``<s>``, never an event."""
        return UNK_ID if token == BOS else self._find(token)

    def ids(
        self, data: NDArray[np.uint8], begins: NDArray[np.int64], ends: NDArray[np.int64]
    ) -> NDArray[np.uint32]:
        """The id of each word data[begins[i]:ends[i]], as id() gives it."""
        ids = find_ids(self._hashes, hash_words(data, begins, ends))
        ids[ids == self.bos_id] = UNK_ID
        return ids

    def token(self, token_id: int) -> str:
        """The token's text; raises CapabilityError if the file stores no words."""
        return self.tokens([token_id])[0]

    def tokens(self, token_ids: Sequence[int]) -> list[str]:
        """The texts of many tokens; raises CapabilityError if the file stores no words."""
        stored, ends = self.require_words(), self._word_ends
        if len(token_ids) and not 0 <= min(token_ids) <= max(token_ids) < len(self):
            raise IndexError("a token id that is not of this vocabulary")
        return [
            stored[ends[i] : ends[i + 1] - 1].tobytes().decode(errors="replace") for i in token_ids
        ]

    def require_words(self) -> NDArray[np.uint8]:
        """The bytes of all words; raises CapabilityError if the file stores none."""
        if self._stored is None:
            raise CapabilityError(
                "this KenLM binary was built without words (build_binary -v): "
                "it can score texts, but cannot name tokens"
            )
        return self._stored

    @cached_property
    def _word_ends(self) -> NDArray[np.int64]:
        """Where each word begins, and the last one ends, NULs included: (words + 1,)."""
        nuls = np.flatnonzero(self.require_words() == _NUL)
        return np.concatenate(([0], nuls + 1))

    def _find(self, token: str) -> int:
        data = np.frombuffer(token.encode(errors="surrogatepass"), np.uint8)
        begin, end = np.array([0]), np.array([len(data)])
        return int(find_ids(self._hashes, hash_words(data, begin, end))[0])


def read_words(sections: Sections, size: int) -> NDArray[np.uint8]:
    """The words that end the file; raises ModelFormatError unless they are size in number."""
    words = sections.file[sections.position :]
    unk = np.frombuffer(f"{UNK}\0".encode(), np.uint8)
    if not np.array_equal(words[: len(unk)], unk):
        raise ModelFormatError(sections.path, f"no words where they should begin with {UNK}")
    stored = int(np.count_nonzero(words == _NUL))
    if stored != size or words[-1] != _NUL:
        problem = f"{stored} words at the end of the file, but {size} in its vocabulary"
        raise ModelFormatError(sections.path, problem)
    return words
