"""Cuts what is to be sent into requests, and puts answers back in order."""

from __future__ import annotations

from collections.abc import AsyncIterable, AsyncIterator, Callable, Iterable, Iterator
from typing import Generic, TypeVar

from grpc import StatusCode

from lmscore.client.errors import ServerError
from lmscore.client.requests import NBestList

Item = TypeVar("Item")
AnswerT = TypeVar("AnswerT")

MAX_BATCH_CHARACTERS = 2**20  # at most 4 MiB of UTF-8, well under servers' 16 MiB a message


class Batcher(Generic[Item]):
    """Collects items into batches bounded by weight and characters; a larger item goes alone."""

    def __init__(self, measure: Callable[[Item], tuple[int, int]], max_weight: int) -> None:
        self._measure = measure  # weight and characters of an item
        self._max_weight = max_weight
        self._batch: list[Item] = []
        self._weight = 0
        self._characters = 0

    def add(self, item: Item) -> list[Item]:
        """Take an item; gives the batch that it no longer fits into, or an empty list."""
        weight, characters = self._measure(item)
        full: list[Item] = []
        if (
            self._weight + weight > self._max_weight
            or self._characters + characters > MAX_BATCH_CHARACTERS
        ):
            full = self.rest()
        self._batch.append(item)
        self._weight += weight
        self._characters += characters
        return full

    def rest(self) -> list[Item]:
        """What was collected since the last batch."""
        batch, self._batch = self._batch, []
        self._weight = self._characters = 0
        return batch


def text_batcher(max_texts: int) -> Batcher[str]:
    """Batches of at most that many texts."""
    return Batcher(lambda text: (1, len(text)), max_texts)


def list_batcher(max_hypotheses: int) -> Batcher[NBestList]:
    """Batches of n-best lists with at most that many hypotheses in all."""

    def measure(nbest: NBestList) -> tuple[int, int]:
        characters = sum(len(hypothesis.text) for hypothesis in nbest.hypotheses)
        return len(nbest.hypotheses), characters + len(nbest.context)

    return Batcher(measure, max_hypotheses)


def batches(items: Iterable[Item], batcher: Batcher[Item]) -> Iterator[list[Item]]:
    """The items in batches, in order."""
    for item in items:
        if full := batcher.add(item):
            yield full
    if rest := batcher.rest():
        yield rest


async def async_batches(
    items: Iterable[Item] | AsyncIterable[Item], batcher: Batcher[Item]
) -> AsyncIterator[list[Item]]:
    """The same for items that may have to be waited for."""
    if not isinstance(items, AsyncIterable):
        for batch in batches(items, batcher):
            yield batch
        return
    async for item in items:
        if full := batcher.add(item):
            yield full
    if rest := batcher.rest():
        yield rest


class Window(Generic[AnswerT]):
    """Requests on their way: answers arrive in any order and leave in the requests' order.

    It is full as long as ``size`` requests are unanswered or wait for an earlier one's answer, so
    one slow answer cannot make it hold everything behind it.
    """

    def __init__(self, size: int) -> None:
        if size < 1:
            raise ValueError(f"{size} requests cannot be on their way; at least 1")
        self._size = size
        self._next_id = 0  # of the next request
        self._oldest_id = 0  # of the request whose answer leaves next
        self._arrived: dict[int, AnswerT] = {}

    @property
    def full(self) -> bool:
        """Whether an answer has to be awaited before the next request."""
        return self._next_id - self._oldest_id >= self._size

    @property
    def empty(self) -> bool:
        """Whether every answer has left."""
        return self._next_id == self._oldest_id

    def open(self) -> int:
        """The id for a new request."""
        self._next_id += 1
        return self._next_id - 1

    def arrive(self, request_id: int, answer: AnswerT) -> Iterator[AnswerT]:
        """Take an answer and give those that may leave now."""
        if not self._oldest_id <= request_id < self._next_id or request_id in self._arrived:
            message = f"the server answered request {request_id}, which is not waiting for one"
            raise ServerError(message, code=StatusCode.INTERNAL)
        self._arrived[request_id] = answer
        while self._oldest_id in self._arrived:
            self._oldest_id += 1
            yield self._arrived.pop(self._oldest_id - 1)
