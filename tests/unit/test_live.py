"""Live sources: the newest picture, the latest sound, and what is not opened."""

import cv2
import numpy as np
import pytest

from keras_emo.errors import ClipError, Reason
from keras_emo.media.live import Latest, Stream, Webcam, open_source


def test_only_the_newest_picture_is_kept():
    latest = Latest()
    for i in range(1000):
        latest.put(i, i / 10)
    assert latest.read(0.0) == ((999, 99.9), [])
    assert latest.read(0.0) == (None, [])
    assert latest.n_dropped == 999


def test_sound_is_bounded():
    latest = Latest()
    for i in range(1000):
        latest.put_sound(np.zeros(10, np.float32), 10, float(i))
    _, sound = latest.read(0.0)
    assert [s[2] for s in sound] == [float(i) for i in range(989, 1000)]


@pytest.mark.parametrize(
    ("name", "reason"),
    [
        ("ftp://x/a.mp4", Reason.FORMAT_NOT_ALLOWED),
        ("concat:a.mp4|b.mp4", Reason.NOT_FOUND),
        ("data://text/plain,x", Reason.FORMAT_NOT_ALLOWED),
        ("none.mp4", Reason.NOT_FOUND),
        ("http://127.0.0.1:9/a.mkv", Reason.UNREADABLE),
    ],
)
def test_sources_that_are_not_opened(name, reason):
    with pytest.raises(ClipError) as caught:
        open_source(name)
    assert caught.value.reason is reason


def test_sources_without_pictures(make, tmp_path):
    with pytest.raises(ClipError) as caught:
        Stream(str(make.wav(tmp_path / "a.wav", make.sine())))
    assert caught.value.reason is Reason.NO_VIDEO
    (tmp_path / "list.mp4").write_text("#EXTM3U\n#EXTINF:1,\nfile:///etc/hostname\n")
    with pytest.raises(ClipError):
        Stream(str(tmp_path / "list.mp4"))
    assert isinstance(open_source("3"), Webcam)
    with pytest.raises(ClipError) as caught:
        Webcam(97).read(Latest())
    assert caught.value.reason is Reason.NOT_FOUND


class StubCamera:
    """Gives so many pictures, all blue as OpenCV orders colors, then none."""

    def __init__(self, n: int, opened: bool = True):
        self.n, self.opened, self.released = n, opened, False

    def isOpened(self) -> bool:
        return self.opened

    def read(self):
        self.n -= 1
        picture = np.zeros((4, 6, 3), np.uint8)
        picture[..., 0] = 255
        return (True, picture) if self.n >= 0 else (False, None)

    def release(self) -> None:
        self.released = True


def use(monkeypatch, camera: StubCamera) -> None:
    monkeypatch.setattr(cv2, "VideoCapture", lambda number: camera)


def test_pictures_come_as_rgb_until_it_ends(monkeypatch):
    camera, latest = StubCamera(3), Latest()
    use(monkeypatch, camera)
    with pytest.raises(ClipError, match="no more pictures") as caught:
        Webcam(0).read(latest)
    assert caught.value.reason is Reason.UNREADABLE
    (rgb, time_s), sound = latest.read(0)
    assert rgb[0, 0].tolist() == [0, 0, 255]
    assert time_s >= 0
    assert (sound, latest.n_dropped, camera.released) == ([], 2, True)


def test_no_such_camera(monkeypatch):
    camera = StubCamera(0, opened=False)
    use(monkeypatch, camera)
    with pytest.raises(ClipError, match="'webcam 7': not_found") as caught:
        Webcam(7).read(Latest())
    assert caught.value.reason is Reason.NOT_FOUND
    assert camera.released


def test_it_stops_when_asked_to(monkeypatch):
    camera = StubCamera(5)
    use(monkeypatch, camera)
    Webcam(0).read(Latest(stopped=True))
    assert (camera.n, camera.released) == (5, True)
