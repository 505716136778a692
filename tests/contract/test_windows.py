"""A recording of about one window is answered the same by windows and by predict."""

from __future__ import annotations

from pathlib import Path

import pytest

from keras_emo import load
from keras_emo.inference.model import Model

pytestmark = pytest.mark.slow
BUNDLE = Path(__file__).resolve().parents[2] / "saved_models" / "default"


@pytest.fixture(scope="module")
def predictor() -> Model:
    made = load(BUNDLE, threads=1)
    made.warm_up()
    return made


def shorten(source: Path, target: Path, seconds: float) -> Path:
    """The packets of the first seconds."""
    import av

    with av.open(str(source)) as old, av.open(str(target), "w") as new:
        streams = {s.index: new.add_stream_from_template(s) for s in old.streams}
        for packet in old.demux():
            whole = packet.dts is not None
            if whole and float((packet.pts + packet.duration) * packet.time_base) <= seconds + 1e-3:
                packet.stream = streams[packet.stream_index]
                new.mux(packet)
    return target


@pytest.mark.parametrize("seconds", [2.0, 3.0, 9.0])
def test_windows_answer_as_predict_does(seconds, drawn, predictor, tmp_path):
    clip = shorten(drawn, tmp_path / "a.mp4", seconds)
    whole = predictor.predict(clip)
    (answer,) = predictor.stream(clip)
    assert answer.probs == whole.probs
    assert (answer.label, answer.modalities) == (whole.label, ("face", "voice"))
    assert answer.end_s == pytest.approx(whole.duration_s, abs=0.05)
    assert len(answer.times_s) == whole.faces.examined
