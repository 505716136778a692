"""A camera, without one: what is read from it, and that it is let go."""

import cv2
import numpy as np
import pytest

from keras_emo.errors import ClipError, Reason
from keras_emo.media.live import Latest, Webcam


class StubCamera:
    """Gives so many pictures, all blue as OpenCV orders colours, then none."""

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
    (rgb, time_s), sound = latest.take(0)
    assert rgb[0, 0].tolist() == [0, 0, 255]
    assert time_s >= 0
    assert (sound, latest.n_given, latest.n_dropped, camera.released) == ([], 3, 2, True)


def test_no_such_camera(monkeypatch):
    camera = StubCamera(0, opened=False)
    use(monkeypatch, camera)
    with pytest.raises(ClipError, match="'webcam 7': not_found") as caught:
        Webcam(7).read(Latest())
    assert caught.value.reason is Reason.NOT_FOUND
    assert camera.released


def test_it_stops_when_it_is_told(monkeypatch):
    camera = StubCamera(5)
    use(monkeypatch, camera)
    Webcam(0).read(Latest(stopped=True))
    assert (camera.n, camera.released) == (5, True)
