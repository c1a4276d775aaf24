"""A queue that is fair to callers: urgent work first, and to each caller its share of it.

Within a class of priority this is self-clocked fair queueing (Golestani, 1994). Every caller has a
lane. The first entry of a lane is due when the class's clock has advanced by its cost since it
became the first, and the entry that is due earliest has its turn, which sets the clock.
"""

from __future__ import annotations

import heapq
from collections import OrderedDict
from collections.abc import Callable, Iterator
from itertools import count
from typing import Generic, Protocol, TypeVar

from lmscore.server.call import Call, Priority

BULK_SHARE = 8
"""While urgent work waits as well, one part in so many of the work is bulk work."""


class Queued(Protocol):
    """What may wait here."""

    @property
    def call(self) -> Call:
        """For whom."""

    @property
    def cost(self) -> float:
        """What it takes; only proportions matter."""


Entry = TypeVar("Entry", bound=Queued)


class FairQueue(Generic[Entry]):
    """Entries, each of which has its turn once or is removed. For one thread at a time."""

    def __init__(self) -> None:
        self._urgent: _Class[Entry] = _Class()
        self._bulk: _Class[Entry] = _Class()
        self._owed = 0.0  # cost of urgent work that went before bulk work and was not made up for

    def __len__(self) -> int:
        return self._urgent.entries + self._bulk.entries

    def of_class(self, priority: Priority) -> int:
        """Entries of a class that wait."""
        return self._class(priority).entries

    def add(self, entry: Entry) -> None:
        """Let an entry wait."""
        self._class(entry.call.priority).add(entry)

    def remove(self, entry: Entry) -> bool:
        """Let an entry go without its turn; whether it was waiting."""
        removed = self._class(entry.call.priority).remove(entry)
        self._forget_debts()
        return removed

    def peek(self) -> Entry | None:
        """The entry whose turn it is."""
        urgent, bulk = self._urgent.peek(), self._bulk.peek()
        if urgent is None or (bulk is not None and self._owed >= bulk.cost * (BULK_SHARE - 1)):
            return bulk
        return urgent

    def take(self, entry: Entry) -> None:
        """Let an entry that waits have its turn, which it need not be, at its caller's expense."""
        if entry.call.priority is Priority.BULK:
            self._bulk.take(entry)
            self._owed = max(0.0, self._owed - entry.cost * (BULK_SHARE - 1))
        else:
            self._urgent.take(entry)
            self._owed += entry.cost
        self._forget_debts()

    def companions(self, entry: Entry, wanted: Callable[[Entry], bool]) -> Iterator[Entry]:
        """Others of the same class that are wanted, in the order of their turns."""
        return (
            other
            for other in self._class(entry.call.priority).in_turn(wanted)
            if other is not entry
        )

    def ahead(self, call: Call, cost: float) -> float:
        """What is done before new work of such a cost is; itself included."""
        if call.priority is Priority.BULK:
            return self._urgent.cost + self._bulk.ahead(call.caller, cost)
        return self._urgent.ahead(call.caller, cost)

    def clear(self) -> list[Entry]:
        """Remove all that waits."""
        entries = [*self._urgent, *self._bulk]
        self._urgent, self._bulk, self._owed = _Class(), _Class(), 0.0
        return entries

    def _class(self, priority: Priority) -> _Class[Entry]:
        return self._bulk if priority is Priority.BULK else self._urgent

    def _forget_debts(self) -> None:
        if not self._bulk.entries:
            self._owed = 0.0


class _Lane(Generic[Entry]):
    """What waits of one caller."""

    def __init__(self, start: float) -> None:
        self.start = start  # the clock when its first entry became the first
        self.due = start  # the clock when its first entry is due
        self.waiting: OrderedDict[Entry, None] = OrderedDict()
        self.cost = 0.0
        self.debt = 0.0  # cost of entries that had their turn before older ones, which do not pay
        self.version = 0  # of what is due, in the heap

    @property
    def first(self) -> Entry:
        return next(iter(self.waiting))

    def pay(self, start: float) -> None:
        """Begin with the next entry, after what others have had before their time."""
        self.start, self.debt = start + self.debt, 0.0


class _Class(Generic[Entry]):
    """The lanes of one class of priority."""

    def __init__(self) -> None:
        self.entries = 0
        self.cost = 0.0
        self._lanes: dict[str, _Lane[Entry]] = {}
        self._clock = 0.0
        self._numbers = count()  # ties are told apart by age
        self._due: list[tuple[float, int, int, _Lane[Entry]]] = []  # heap; versions may be old

    def __iter__(self) -> Iterator[Entry]:
        return (entry for lane in self._lanes.values() for entry in lane.waiting)

    def add(self, entry: Entry) -> None:
        lane = self._lanes.get(entry.call.caller)
        if lane is None:
            lane = self._lanes[entry.call.caller] = _Lane(self._clock)
        lane.waiting[entry] = None
        self._count(lane, 1, entry.cost)
        if len(lane.waiting) == 1:
            self._announce(lane)

    def peek(self) -> Entry | None:
        while self._due:
            _, _, version, lane = self._due[0]
            if version == lane.version:
                return lane.first
            heapq.heappop(self._due)
        return None

    def remove(self, entry: Entry) -> bool:
        lane = self._lanes.get(entry.call.caller)
        if lane is None or entry not in lane.waiting:
            return False
        self._drop(lane, entry)
        return True

    def take(self, entry: Entry) -> None:
        lane = self._lanes[entry.call.caller]
        if entry is not lane.first:
            # Or more of the same, again and again, would put the first one off for ever.
            lane.debt += entry.cost
        elif entry is self.peek():
            self._clock = lane.due
            lane.pay(lane.due)
        else:
            lane.pay(lane.start + entry.cost)
        self._drop(lane, entry)

    def in_turn(self, wanted: Callable[[Entry], bool]) -> Iterator[Entry]:
        """Those that are wanted, as they would follow if there were no others."""
        numbers = count()
        heap: list[tuple[float, int, Entry, Iterator[Entry]]] = []

        def push(start: float, those: Iterator[Entry]) -> None:
            for entry in those:  # the next one, if any
                heapq.heappush(heap, (start + entry.cost, next(numbers), entry, those))
                break

        for lane in self._lanes.values():
            push(lane.start + lane.debt, filter(wanted, lane.waiting))
        while heap:
            due, _, entry, those = heapq.heappop(heap)
            yield entry
            push(due, those)

    def ahead(self, caller: str, cost: float) -> float:
        own = self._lanes.get(caller)
        mine = cost + (own.cost if own is not None else 0.0)
        others = (min(lane.cost, mine) for lane in self._lanes.values() if lane is not own)
        return mine + sum(others)

    def _drop(self, lane: _Lane[Entry], entry: Entry) -> None:
        del lane.waiting[entry]
        self._count(lane, -1, -entry.cost)
        lane.version += 1
        if lane.waiting:
            self._announce(lane)
        else:
            del self._lanes[entry.call.caller]
        if not self._lanes:
            self._clock = self.cost = 0.0  # rounding errors do not add up
            self._due.clear()

    def _count(self, lane: _Lane[Entry], entries: int, cost: float) -> None:
        self.entries += entries
        self.cost += cost
        lane.cost += cost

    def _announce(self, lane: _Lane[Entry]) -> None:
        """Put it into the heap; now and then without what is old there."""
        lane.due = max(self._clock, lane.start + lane.first.cost)
        if len(self._due) > 64 + 2 * len(self._lanes):
            self._due = [item for item in self._due if item[2] == item[3].version]
            heapq.heapify(self._due)
        heapq.heappush(self._due, (lane.due, next(self._numbers), lane.version, lane))
