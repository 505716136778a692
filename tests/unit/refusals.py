"""A refusal of a media file, checked in one way by the tests of reading and decoding."""

from pathlib import Path

import pytest

from keras_emo.errors import ClipError, Reason
from keras_emo.media.reader import read_media


def refused(path: Path, reason: Reason, read=read_media) -> ClipError:
    with pytest.raises(ClipError) as caught:
        read(path)
    assert caught.value.reason is reason
    assert str(path) in str(caught.value)
    return caught.value
