"""Word error rates of lists with references, as a table, and as something to go on from."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict
from typing import TYPE_CHECKING, Any

import click
from rich.table import Table

from lmscore.client.cli.output import complain, table_text
from lmscore.client.requests import NBestList

if TYPE_CHECKING:
    from lmscore.client.wer import WerComparison


class Comparison:
    """Word error rates of the lists that have a reference."""

    def __init__(self) -> None:
        self._wer: WerComparison | None = None

    def add(self, given: NBestList, winner: int) -> None:
        """Count a list and the index of its winner."""
        if given.reference is None:
            return
        if self._wer is None:
            from lmscore.client.wer import WerComparison  # jiwer takes its time to import

            self._wer = WerComparison()
        self._wer.add(given, winner)

    def state(self) -> dict[str, Any] | None:
        """The counts, as JSON has them; absent if there are none."""
        return None if self._wer is None else asdict(self._wer)

    def restore(self, state: Mapping[str, Any] | None) -> None:
        """Go on from such counts."""
        if state is None:
            return
        from lmscore.client.wer import WerComparison, WordErrors

        counts = {key: WordErrors(**each) for key, each in state.items() if key != "lists"}
        self._wer = WerComparison(**counts, lists=state["lists"])

    def print(self) -> None:
        """Write the rates to standard error, if there are any."""
        if self._wer is None:
            return
        table = Table("", box=None, pad_edge=False)
        for heading in ("WER", "errors", "words"):
            table.add_column(heading, justify="right")
        rows = {
            "as given": self._wer.before,
            "re-ranked": self._wer.after,
            "oracle": self._wer.oracle,
        }
        for name, errors in rows.items():
            rate = f"{errors.rate:.2%}" if errors.words else "-"  # no words, no rate
            table.add_row(name, rate, str(errors.errors), str(errors.words))
        click.echo(table_text(table), err=True, nl=False)
        if self._wer.after.errors > self._wer.before.errors:
            complain("note: the lists were better as given; `lmscore tune` looks for weights")
