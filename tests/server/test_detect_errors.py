"""DetectErrors over a real connection, against figures worked out by hand."""

from __future__ import annotations

import math
from pathlib import Path
from shutil import copy

import grpc
import pytest

from lmscore.models.error_detection.calibration import calibrate, write_calibration
from lmscore.models.language_model import Texts
from lmscore.models.loading import fingerprint, load_model
from lmscore.server.convert import detect
from lmscore.server.repository import ServedModel
from lmscore.v1 import language_model_service_pb2 as wire
from lmscore.v1 import model_service_pb2
from lmscore.v1.common_pb2 import ModelSelector
from tests.server.character_network import character_network
from tests.server.harness import Connection, Failure, failure_of, running, settings_for

TINY = ModelSelector(name="tiny")
ln = math.log


def request(*texts: str, **fields: object) -> wire.DetectErrorsRequest:
    settings = {"model": TINY, "threshold": 1.0, "criterion": wire.DETECTION_CRITERION_SURPRISAL}
    return wire.DetectErrorsRequest(texts=texts, **(settings | fields))  # type: ignore[arg-type]


async def failure(connection: Connection, asked: wire.DetectErrorsRequest) -> Failure:
    with pytest.raises(grpc.aio.AioRpcError) as raised:
        await connection.stub.DetectErrors(asked)
    return failure_of(raised.value)


async def test_spans_tell_place_surprisal_and_what_is_likelier(connection: Connection) -> None:
    response = await connection.stub.DetectErrors(request("a b", "ü a b", alternatives=1))

    assert response.threshold == 1.0
    assert response.criterion == wire.DETECTION_CRITERION_SURPRISAL
    assert not response.texts[0].spans
    # p(<unk>|<s>) = 2/3 * 0.1, p(a) = 0.4, p(b|a) = 0.5, p(</s>|b) = 0.5
    [span] = response.texts[1].spans
    assert (span.text, span.begin_byte, span.end_byte, span.word_count) == ("ü", 0, 2, 1)
    assert (span.oov, span.beyond_threshold) == (True, True)
    assert span.surprisal == pytest.approx(-ln(2 / 3 * 0.1), abs=1e-5)
    # Left out: p(a|<s>) = 0.6 and then the same; less the surprisal of <unk> alone.
    # In its place: p(b|<s>) p(a|b) = 2/3 * 0.3 * 5/8 * 0.4; p(a|<s>) p(a|a) = 0.6 * 5/7 * 0.4.
    [alternative] = span.alternatives
    as_it_is = ln(2 / 3 * 0.1 * 0.4)
    gains = {
        "": ln(0.6) - as_it_is + ln(0.1),
        "a": ln(0.6 * 5 / 7 * 0.4) - as_it_is,
        "b": ln(2 / 3 * 0.3 * 5 / 8 * 0.4) - as_it_is,
    }
    assert alternative.text == max(gains, key=lambda text: gains[text]) == "a"
    assert alternative.gain == pytest.approx(gains["a"], abs=1e-5)
    assert alternative.source == wire.ALTERNATIVE_SOURCE_VOCABULARY


async def test_misfits_are_the_default_and_words_are_told_if_asked(connection: Connection) -> None:
    asked = request("a b", criterion=wire.DETECTION_CRITERION_UNSPECIFIED, words=True)
    response = await connection.stub.DetectErrors(asked)

    [text] = response.texts
    of_a = ln(0.4) - ln(0.6) + ln(0.3 * 0.5) - ln(0.5 * 0.5)
    of_b = ln(0.3) - ln(0.5) + ln(0.2) - ln(0.5)
    assert response.criterion == wire.DETECTION_CRITERION_MISFIT
    assert list(text.words.words) == ["a", "b", "</s>"]
    assert list(text.unexpectedness) == pytest.approx([of_a, of_b, 0.0], abs=1e-5)
    assert text.log_prob == pytest.approx(ln(0.6 * 0.5 * 0.5), abs=1e-5)


@pytest.mark.parametrize("eos", [False, True])
async def test_words_of_many_texts_are_told_as_those_of_each_alone(
    connection: Connection, *, eos: bool
) -> None:
    def asked(*texts: str) -> wire.DetectErrorsRequest:
        return request(
            *texts, criterion=wire.DETECTION_CRITERION_MISFIT, words=True, eos=eos, threshold=99.0
        )

    several = ["b a", "a", "ü b a"]
    together = (await connection.stub.DetectErrors(asked(*several))).texts
    alone = [(await connection.stub.DetectErrors(asked(text))).texts[0] for text in several]

    assert list(together) == alone
    assert [len(text.unexpectedness) for text in together] == [2 + eos, 1 + eos, 3 + eos]
    assert all((text.unexpectedness[-1] == 0) == eos for text in together)  # an end fits


async def test_context_and_flags_are_those_of_scores(connection: Connection) -> None:
    asked = request("b", context="a", eos=False, words=True, bos=False)
    [text] = (await connection.stub.DetectErrors(asked)).texts

    assert text.log_prob == pytest.approx(ln(0.5), abs=1e-5)
    assert list(text.words.words) == ["b"]


async def test_without_a_threshold_a_model_has_to_be_calibrated(connection: Connection) -> None:
    failed = await failure(connection, wire.DetectErrorsRequest(model=TINY, texts=["a"]))

    assert failed.code is grpc.StatusCode.FAILED_PRECONDITION
    assert failed.reason == "NOT_CALIBRATED"
    assert "--calibrate" in failed.message


async def test_a_calibrated_model_has_a_threshold_and_says_so(
    tiny_arpa: Path, tmp_path: Path
) -> None:
    path = Path(copy(tiny_arpa, tmp_path))
    found = calibrate(load_model(path), [Texts.from_strings(["a b", "b"])], 0.5)
    write_calibration(path, fingerprint(path), found)
    async with running(settings_for(path)) as connection:
        response = await connection.stub.DetectErrors(
            wire.DetectErrorsRequest(model=TINY, texts=["a b"])
        )
        told = await connection.models.GetModel(model_service_pb2.GetModelRequest(model=TINY))

    assert response.threshold == found.threshold("misfit")
    assert told.model.detection_thresholds == model_service_pb2.DetectionThresholds(
        quantile=0.5, surprisal=found.threshold("surprisal"), misfit=found.threshold("misfit")
    )


async def test_a_text_over_the_limit_has_its_own_error(tiny_arpa: Path) -> None:
    async with running(settings_for(tiny_arpa, max_text_bytes=5)) as connection:
        texts = (await connection.stub.DetectErrors(request("b b", "a b a b", "c"))).texts

    assert [text.HasField("error") for text in texts] == [False, True, False]
    assert (texts[1].error.reason, texts[1].error.field) == ("TEXT_TOO_LONG", "texts[1]")
    assert [len(text.spans) for text in texts] == [1, 0, 1]


async def test_what_would_take_too_long_has_its_own_error(
    connection: Connection, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(detect, "MAX_RESCORED_BYTES", 200)
    monkeypatch.setattr("lmscore.models.error_detection.checking.MAX_RESCORED_BYTES", 2000)
    long = "b " * 20
    by_misfit = request("a b", long, "b", criterion=wire.DETECTION_CRITERION_MISFIT)
    by_surprisal = request("c", long)
    without = request("c", long, alternatives=0)

    for asked, errors in ((by_misfit, 1), (by_surprisal, 1), (without, 0)):
        texts = (await connection.stub.DetectErrors(asked)).texts
        assert [text.HasField("error") for text in texts[:2]] == [False, bool(errors)]
        assert not any(text.HasField("error") for text in texts[2:])  # after one that is too long
        assert texts[1].error.field == ("texts[1]" if errors else "")


@pytest.mark.parametrize(
    ("asked", "field"),
    [
        (request(), "texts"),
        (request("a", criterion=77), "criterion"),
        (request("a", threshold=math.nan), "threshold"),
        (request("a", alternatives=10**6), "alternatives"),
        (request("a", model=ModelSelector()), "model.name"),
    ],
)
async def test_a_bad_request_is_told_what_is_wrong(
    connection: Connection, asked: wire.DetectErrorsRequest, field: str
) -> None:
    failed = await failure(connection, asked)

    assert failed.code is grpc.StatusCode.INVALID_ARGUMENT
    assert failed.fields == [field]


async def test_more_than_a_message_can_hold_is_refused(tiny_arpa: Path) -> None:
    async with running(settings_for(tiny_arpa, max_message_bytes=4096)) as connection:
        failed = await failure(connection, request(*["c b c b c b"] * 40))

    assert failed.fields == ["texts"]


async def test_characters_have_words_to_find_and_no_spellings(tiny_arpa: Path) -> None:
    async with running(settings_for(tiny_arpa)) as connection:
        served = ServedModel("letters", 1, "ab" * 32, character_network())
        connection.server.repository.add(served)
        letters = ModelSelector(name="letters")
        asked = request("ab cd", model=letters, threshold=-1e9, alternatives=3)
        [text] = (await connection.stub.DetectErrors(asked)).texts
        failed = await failure(connection, request("ab", model=letters, spelling=True, threshold=0))

    [span] = text.spans
    assert (span.text, span.word_count) == ("ab cd", 2)
    assert all(each.gain > 0 for each in span.alternatives)
    assert failed.reason == "UNSUPPORTED_BY_MODEL"
