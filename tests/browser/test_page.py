"""A clip on the page of keras-emo serve, in Chromium: pictures, sound, chart, downloads."""

from __future__ import annotations

import csv
import json

import pytest

pytest.importorskip("selenium")
pytest.importorskip("fastapi")

from selenium.webdriver.common.action_chains import ActionChains

from keras_emo.cli import main
from keras_emo.labels import EMOTIONS

from .conftest import BUNDLE

pytestmark = pytest.mark.slow


def test_the_prediction_is_shown(visitor, clips):
    visitor.choose(clips.talk)
    headline = visitor.wait("#overall").text
    assert "Face and voice together" in visitor.find(".overall").text
    assert not visitor.find_all(".notices")
    visitor.wait_until(lambda: visitor.find_all(".uplot canvas"))
    (label,) = (e for e in EMOTIONS if visitor.find_all(f"h2.of-{e}"))
    assert label in headline.lower() or headline == "No clear expression"
    assert visitor.count_color(label) > 200, "no line of the label"
    assert [h.text for h in visitor.find_all(".moment thead th")] == ["Face", "Voice", "Both"]
    figures = [f.text for f in visitor.find_all(".moment .figure")]
    assert len(figures) == 21, "each of the seven from face, voice and both"
    assert all(f.endswith(" %") for f in figures)
    assert visitor.find_all(".segments li")
    visitor.click("Show as table")
    rows = visitor.find_all(".windows tbody tr")
    assert len(rows) >= 4
    assert rows[0].text.endswith("face and voice")
    assert not visitor.find_all(".chart")
    assert visitor.read_log() == []
    assert visitor.list_hosts() <= {visitor.address}, "something came from outside"


def test_the_downloads_match_the_command_line(visitor, downloads, clips, tmp_path):
    visitor.choose(clips.talk)
    visitor.wait("#overall")
    result = json.loads(visitor.download("Download JSON", downloads / "talk.json"))
    assert result["schema"] == 1
    assert result["path"] == "talk.mp4"
    assert result["windows"][0]["probs_face"] != result["windows"][0]["probs_voice"]
    rows = list(csv.reader(visitor.download("Download CSV", downloads / "talk.csv").splitlines()))
    options = [
        "--timeline",
        "--format",
        "csv",
        "--bundle",
        str(BUNDLE),
        "--out",
        str(tmp_path / "a"),
    ]
    assert main(["predict", str(clips.talk), *options]) == 0
    header, *expected = csv.reader((tmp_path / "a").read_text().splitlines())
    assert rows[0] == header
    assert len(rows) == 1 + len(expected)
    for row, other in zip(rows[1:], expected, strict=True):
        assert row[0] == "talk.mp4"
        assert read_cells(row[1:]) == pytest.approx(read_cells(other[1:]), abs=1e-4)


def read_cells(cells: list[str]) -> list[str | float]:
    return [float(c) if c.replace(".", "", 1).isdigit() else c for c in cells]


def test_the_box_lies_on_the_face(visitor, downloads, clips):
    visitor.choose(clips.talk)
    visitor.wait("#overall")
    result = json.loads(visitor.download("Download JSON", downloads / "talk.json"))
    visitor.wait_until(lambda: visitor.find(".stage video").get_property("readyState") >= 2)
    x, y, width, height = box = result["windows"][0]["face"]["box"]
    visitor.wait_until(lambda: visitor.find(".stage canvas").get_property("width") > 300)
    assert visitor.read_frame(box) == pytest.approx([x, x + width, y + height], abs=4)


def test_chart_and_video_go_together(visitor, clips):
    visitor.choose(clips.talk)
    over = visitor.wait(".chart .u-over")
    visitor.wait_until(lambda: visitor.find(".stage video").get_property("readyState") >= 2)
    length_s = visitor.find(".stage video").get_property("duration")
    visitor.driver.execute_script("arguments[0].scrollIntoView({block: 'center'})", over)
    ActionChains(visitor.driver).move_to_element(over).click().perform()
    visitor.wait_until(lambda: visitor.read_time_s() == pytest.approx(length_s / 2, abs=0.1))
    visitor.driver.execute_script("arguments[0].currentTime = 1", visitor.find(".stage video"))
    visitor.wait_until(lambda: visitor.find("#moment").text == "At 0:01.0")
    head = float(visitor.find(".playhead").get_attribute("style").split("left: ")[1].split("%")[0])
    assert head == pytest.approx(100 / length_s, abs=0.5)


def start_recording(visitor):
    visitor.click("Record with camera")
    visitor.wait_until(lambda: visitor.find_button("Stop and send").is_enabled())


def test_recordings(visitor):
    """The first is discarded, the second one sent."""
    start_recording(visitor)
    visitor.click("Discard")
    visitor.wait(".zone")
    assert not visitor.find_all("#failure")
    start_recording(visitor)
    progress = visitor.find(".recorder progress")
    visitor.wait_until(lambda: float(progress.get_property("value")) > 2.5 / 30)
    visitor.click("Stop and send")
    visitor.wait("#overall")
    assert visitor.find(".kicker").text == "recording.webm"
    assert "No face was found" in visitor.find(".notices").text, "the camera shows a test picture"
    # infinite, which is null on the way here, until the page has sought the end of the recording
    visitor.wait_until(
        lambda: 2 < (visitor.find(".stage video").get_property("duration") or 0) < 30
    )
    assert not visitor.driver.execute_script("return document.querySelector('.recorder')")
