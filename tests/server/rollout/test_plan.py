"""Which versions are to be in memory."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from lmscore.server.rollout.plan import labels_in_effect, plan
from lmscore.server.rollout.serving import Serving

VERSIONS = st.sets(st.integers(1, 6))
SERVINGS = st.builds(
    Serving,
    st.dictionaries(st.sampled_from(["stable", "canary"]), st.integers(1, 6)),
    st.frozensets(st.integers(1, 6)),
    st.frozensets(st.integers(1, 6)),
)


@given(VERSIONS, VERSIONS, SERVINGS, st.integers(1, 3))
def test_loading_step_by_step_ends_with_what_is_wanted(
    there: set[int], bad: set[int], serving: Serving, keep_versions: int
) -> None:
    loaded: set[int] = set()
    failed: set[int] = set()
    for _ in range(20):
        todo = plan(there, failed, loaded, serving, {}, keep_versions)
        loaded = set(todo.keep)
        if not todo.load:
            break
        (failed if todo.load[0] in bad else loaded).add(todo.load[0])

    good = there - bad
    free = sorted(good - (serving.unloaded - serving.named), reverse=True)
    assert todo.load == ()
    assert loaded == {*free[:keep_versions], *(good & serving.named)}


@given(VERSIONS, VERSIONS, VERSIONS, SERVINGS, st.integers(1, 3))
def test_the_last_version_goes_only_if_the_operator_wants_none(
    there: set[int], failed: set[int], loaded: set[int], serving: Serving, keep_versions: int
) -> None:
    todo = plan(there, failed - loaded, loaded, serving, {}, keep_versions)

    if loaded and not todo.keep:
        assert loaded <= serving.unloaded
        assert there <= serving.unloaded - serving.named


@given(VERSIONS, VERSIONS, SERVINGS)
def test_labels_lead_to_what_is_loaded_wherever_they_can(
    loaded: set[int], before: set[int], serving: Serving
) -> None:
    old = dict(zip(["stable", "canary"], sorted(before), strict=False))
    new = labels_in_effect(serving.labels, old, loaded)

    assert new.keys() == serving.labels.keys()
    for label, version in new.items():
        assert version in {serving.labels[label], old.get(label)}
        if {serving.labels[label], old.get(label)} & loaded:
            assert version in loaded
