"""Which versions of a model are to be in memory; from what is there alone, so easy to try."""

from __future__ import annotations

from collections.abc import Mapping
from collections.abc import Set as AbstractSet
from dataclasses import dataclass

from lmscore.server.rollout.serving import Serving


@dataclass(frozen=True, slots=True)
class Plan:
    """What to do with a model's versions."""

    load: tuple[int, ...]  # in this order
    keep: AbstractSet[int]  # of those that are loaded; the others go
    unwanted: AbstractSet[int] = frozenset()  # kept only because nothing else could answer


def plan(
    there: AbstractSet[int],
    failed: AbstractSet[int],
    loaded: AbstractSet[int],
    serving: Serving,
    in_effect: Mapping[str, int],
    keep_versions: int,
) -> Plan:
    """The newest versions that can be loaded, and those that are named.

    Nothing goes before all that is to replace it has been loaded, and the last version goes only
    if it is the operator's wish that none serves. In_effect are the labels as calls see them.
    """
    meant = {v for v in there if v not in serving.unloaded or v in serving.named}
    usable = sorted(meant - failed, reverse=True)
    wanted = {*usable[:keep_versions], *(v for v in usable if v in serving.named)}
    load = tuple(v for v in usable if v in wanted and v not in loaded)
    if load:
        return Plan(load, loaded)
    keep = loaded & (wanted | set(in_effect.values()))
    if not keep and loaded and (meant or not loaded <= serving.unloaded):
        last = max(loaded, key=lambda version: (version not in serving.unloaded, version))
        return Plan((), {last}, {last})
    return Plan((), keep)


def labels_in_effect(
    labels: Mapping[str, int], before: Mapping[str, int], loaded: AbstractSet[int]
) -> dict[str, int]:
    """Where labels lead: where they should once that is loaded, and until then where they did."""
    return {
        label: version if version in loaded or before.get(label) not in loaded else before[label]
        for label, version in labels.items()
    }
