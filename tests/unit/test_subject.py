"""Whose crops a clip gives: one person's, from end to end."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from keras_emo.features.subject import SubjectFinder
from keras_emo.features.tracking import MAX_TRACKS, TrackedFace
from keras_emo.media.recording import Frame
from keras_emo.spec import FaceSpec

SPEC = FaceSpec(size_px=16)
MIDDLE, LEFT = (35.0, 30.0, 20.0, 20.0), (0.0, 0.0, 30.0, 30.0)  # of 90 x 80; LEFT is larger


def look(frames, spec=SPEC) -> SubjectFinder:
    """frames: of each, {id: box}; frame i is grey level i."""
    finder = SubjectFinder(spec)
    for i, boxes in enumerate(frames):
        faces = [TrackedFace(n, box, True) for n, box in boxes.items()]
        finder.add(Frame(np.full((80, 90, 3), i, np.uint8), i / 3), faces)
    return finder


def levels(track) -> list[int]:
    return [int(c.max()) for c in track.crops]


@pytest.mark.parametrize(("speaker", "box"), [("largest", LEFT), ("central", MIDDLE)])
def test_which_of_two(speaker, box):
    spec = replace(SPEC, speaker=speaker)
    for frames in ([{0: LEFT, 1: MIDDLE}] * 5, [{0: MIDDLE, 1: LEFT}] * 5):
        finder = look(frames, spec)
        track = finder.choose()
        assert track.boxes == [box] * 5
        assert track.found == [True] * 5
        assert (finder.has_several, finder.n_examined) == (True, 5)


def test_size_counts_over_the_whole_clip():
    """A bystander is larger in two frames; the crops do not go to them and back."""
    frames = [{0: MIDDLE}] * 4 + [{0: MIDDLE, 1: LEFT}] * 2 + [{0: MIDDLE}] * 4
    track = look(frames).choose()
    assert track.boxes == [MIDDLE] * 10
    assert levels(track) == list(range(10))


def test_a_passer_by_in_the_middle_is_not_the_subject():
    frames = [{0: LEFT}] * 4 + [{0: LEFT, 1: MIDDLE}] + [{0: LEFT}] * 4
    assert look(frames, replace(SPEC, speaker="central")).choose().boxes == [LEFT] * 9


def test_one_after_the_other_is_no_crowd():
    finder = look([{0: LEFT}] * 2 + [{1: MIDDLE}] * 2)
    assert not finder.has_several
    track = finder.choose()
    assert track.boxes == [LEFT] * 4  # the neighbor's box, as for a missed face
    assert track.found == [True, True, False, False]


def test_frames_from_before_a_face_are_kept_no_longer_than_the_gap():
    finder = look([{}] * 50)
    assert len(finder._empty) == 4
    assert finder.choose() is None
    frames = [{}] * 10 + [{0: LEFT}]
    assert levels(look(frames).choose()) == [7, 8, 9, 10]


def test_a_face_that_leaves_and_comes_back():
    frames = [{0: LEFT}] * 2 + [{}] * 8 + [{0: LEFT}] * 2
    track = look(frames).choose()
    assert levels(track) == [0, 1, 2, 3, 4, 7, 8, 9, 10, 11]
    assert sum(track.found) == 4


def test_a_crowd_is_bounded_and_the_subject_stays():
    frames = [{0: LEFT, i + 1: (40.0, 40.0, 10.0, 10.0)} for i in range(30)]
    finder = look(frames)
    assert len(finder._people) <= MAX_TRACKS
    assert finder.choose().boxes == [LEFT] * 30
