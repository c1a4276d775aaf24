"""Prints the sentences of the documentation that ships inside CPython, one a line.

They are lower-cased and without punctuation, as a speech recognizer would write them. The demo
models are estimated from them; README.md beside this file has the command.
"""

import re
from collections.abc import Iterator
from pydoc_data.topics import topics

MIN_WORDS = 3  # shorter ones are headings and leftovers of tables

_CODE_MARKS = re.compile(r">>>|[={}<>]|\w\(\w|^\s*(?:def|class|import|for|if) ", re.MULTILINE)
_SENTENCE_END = re.compile(r"(?<=[a-z\"')][.:?!])\s+(?=[A-Z\"*(])")
_WORD = re.compile(r"[a-z0-9]+(?:['_.-][a-z0-9]+)*|__[a-z0-9]+__")


def sentences() -> Iterator[list[str]]:
    """The words of each sentence, in the topics' alphabetical order."""
    for name in sorted(topics):
        for paragraph in re.split(r"\n\s*\n", topics[name]):
            if _CODE_MARKS.search(paragraph):
                continue
            text = " ".join(paragraph.split()).replace('"', "").replace("*", "")
            for sentence in _SENTENCE_END.split(text):
                words = _WORD.findall(sentence.lower())
                if len(words) >= MIN_WORDS:
                    yield words


if __name__ == "__main__":
    for words in sentences():
        print(" ".join(words))
