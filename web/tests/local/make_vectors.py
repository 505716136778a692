"""Numbers that the page's transforms are held to, by keras_emo's own: writes vectors.json.

python web/tests/local/make_vectors.py; tests/unit/test_page_vectors.py says when that is due.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import av
import cv2
import numpy as np

from keras_emo.features.boxes import best_first, crop_bilinear, overlapped, suppress
from keras_emo.features.face import crop_face
from keras_emo.features.pyramid import levels_near, normalize, pyramid_scales
from keras_emo.features.tracking import FaceTracker
from keras_emo.inference.segments import find_segments
from keras_emo.media.recording import SampleGrid, convert_frame
from keras_emo.media.sound import resample
from keras_emo.spec import FaceSpec

VECTORS = Path(__file__).with_name("vectors.json")


def paint(width: int, height: int, channels: int = 3) -> np.ndarray:
    """A picture of whole numbers that TypeScript paints too."""
    x, y = np.arange(width)[None, :, None], np.arange(height)[:, None, None]
    c = np.arange(channels)[None, None]
    return ((x * 7 + y * 13 + c * 29 + (x * y) % 17 * 5 + (x * x * y) % 23) % 256).astype(np.uint8)


def flatten(array: np.ndarray, digits: int = 6) -> list:
    if np.issubdtype(array.dtype, np.integer):
        return array.ravel().tolist()
    return [round(float(v), digits) for v in array.ravel()]


def list_shrunk() -> list[dict[str, Any]]:
    cases = []
    for size, to, floats in (
        ((40, 30), (13, 11), False),
        ((40, 30), (20, 15), False),
        ((36, 36), (12, 12), False),
        ((41, 31), (17, 12), True),
        ((40, 30), (20, 15), True),
    ):
        rgb = paint(*size)
        small = cv2.resize(normalize(rgb) if floats else rgb, to, interpolation=cv2.INTER_AREA)
        cases.append({"size": size, "to": to, "floats": floats, "values": flatten(small)})
    return cases


def list_grown() -> list[dict[str, Any]]:
    sizes = (((9, 9), (16, 16)), ((15, 15), (16, 16)))
    return [
        {
            "size": size,
            "to": to,
            "values": flatten(cv2.resize(paint(*size), to, interpolation=cv2.INTER_LINEAR)),
        }
        for size, to in sizes
    ]


def list_face_crops() -> list[dict[str, Any]]:
    cases = []
    for box in ((10.2, 8.4, 21.3, 24.6), (-3.5, -2.0, 20.0, 17.0), (30.0, 20.0, 14.0, 9.0),
                (5.0, 5.0, 16.0, 16.0), (7.5, 4.5, 11.0, 9.0)):  # fmt: skip
        crop = crop_face(paint(40, 30), box, FaceSpec(size_px=16, margin=0.1))
        cases.append({"box": box, "of": [40, 30], "values": flatten(crop)})
    for box in ((20.3, 9.1, 58.2, 55.0), (-10.0, 4.0, 90.0, 121.0)):  # halved once, twice
        crop = crop_face(paint(120, 130), box, FaceSpec(size_px=16, margin=0.1))
        cases.append({"box": box, "of": [120, 130], "values": flatten(crop)})
    return cases


def list_colours() -> list[dict[str, Any]]:
    cases = []
    for matrix, number in (("smpte170m", 5), ("bt709", 1)):
        for full in (False, True):
            planes = paint(16, 12, 1).ravel()
            frame = av.VideoFrame.from_ndarray(planes.reshape(12, 16), format="yuv420p")
            frame.colorspace, frame.color_range = number, 2 if full else 1
            rgb = convert_frame(frame, 0.0).rgb
            cases.append({"matrix": matrix, "full": full, "values": flatten(rgb)})
    return cases


def list_small_colours() -> list[dict[str, Any]]:
    """A smooth picture that is shrunk as it is converted, with rows and columns of chroma."""
    cases, (width, height) = [], (48, 36)
    x, y = np.arange(width)[None], np.arange(height * 3 // 2)[:, None]
    planes = (128 + 90 * np.sin(x / 7) * np.cos(y / 5)).round().astype(np.uint8)
    for matrix, number in (("smpte170m", 5), ("bt709", 1)):
        for full, longest in ((False, 32), (True, 32), (False, 20)):
            frame = av.VideoFrame.from_ndarray(planes, format="yuv420p")
            frame.colorspace, frame.color_range = number, 2 if full else 1
            rgb = convert_frame(frame, 0.0, longest).rgb
            size = rgb.shape[1::-1]
            case = {"matrix": matrix, "full": full, "size": size, "values": flatten(rgb)}
            cases.append(case)
    return [{"planes": flatten(planes)}, *cases]


def list_samples() -> list[dict[str, Any]]:
    cases = []
    for fps, rate_hz in ((30, 3), (25, 3), (30000 / 1001, 3), (50, 3), (10, 3), (15, 7.5)):
        grid, kept = SampleGrid(rate_hz, 1 / fps), []
        for i in range(60):
            if grid.is_due(i / fps):
                grid.keep(i / fps)
                kept.append(i)
        cases.append({"fps": fps, "rate_hz": rate_hz, "kept": kept})
    return cases


def list_boxes() -> dict[str, Any]:
    rng = np.random.default_rng(3)
    corner, side = rng.uniform(0, 60, (40, 2)).round(2), rng.uniform(10, 40, (40, 2)).round(2)
    boxes, scores = np.concatenate([corner, corner + side], 1), rng.uniform(0.6, 1, 40).round(1)
    kept, kept_scores = suppress(boxes, scores, 0.5)
    order = best_first(scores)
    apart = boxes[order][~overlapped(boxes[order], 0.7, of_smaller=True)]
    crops = crop_bilinear(paint(40, 30), np.array([[3.2, 4.1, 25.9, 26.8], [-4, 20, 18, 42.0]]), 6)
    return {
        "boxes": boxes.tolist(),
        "scores": scores.tolist(),
        "suppressed": kept.tolist(),
        "suppressed_scores": kept_scores.tolist(),
        "apart": apart.tolist(),
        "crops": flatten(crops),
    }


def list_pyramids() -> dict[str, Any]:
    sizes = ((360, 640, 40), (720, 1280, 40), (48, 64, 20), (11, 300, 20), (480, 270, 60))
    picture = paint(160, 120)
    boxes = np.array([[50.3, 40.2, 91.3, 81.2], [-5.0, 60.0, 55.0, 120.0], [20.0, 2.0, 145.0, 127]])
    scales = pyramid_scales(120, 160, 20)
    near = [
        {"scale": scale, "left": left, "top": top, "size": level.shape[1::-1],
         "values": flatten(level[::5, ::5, 0], 5)}
        for level, scale, left, top in levels_near(picture, scales, boxes)
    ]  # fmt: skip
    return {
        "scales": [{"size": size, "values": pyramid_scales(*size)} for size in sizes],
        "boxes": boxes.tolist(),
        "near": near,
    }


@dataclass
class _Face:
    box: tuple[float, ...]
    confidence: float = 0.99


class _Detector:
    """Sees the faces of the present frame, near the boxes it is given or everywhere."""

    def __init__(self) -> None:
        self.faces: list[_Face] = []
        self.asked: list[str] = []

    def detect(self, rgb: np.ndarray) -> list[_Face]:
        self.asked.append("detect")
        return self.faces

    def refine(self, rgb: np.ndarray, boxes: list) -> list[_Face]:
        self.asked.append("refine")
        return self.faces[: len(boxes)]


def follow_faces() -> dict[str, Any]:
    """Two people of whom one goes away and comes back, and a third who jumps."""
    frames = []
    for i in range(16):
        faces = [(20.0 + 4 * i, 30.0, 40.0, 50.0)]
        if i not in (4, 5):
            faces.append((200.0 - 3 * i, 40.0, 60.0, 60.0))
        if i > 9:
            faces.append((90.0 + 100 * (i % 2), 150.0, 45.0, 45.0))
        frames.append(faces)
    detector, tracked = _Detector(), []
    tracker = FaceTracker(FaceSpec(detect_every=4), detector)
    for i, faces in enumerate(frames):
        detector.faces = [_Face(box) for box in faces]
        found = tracker.update(np.zeros((4, 4, 3), np.uint8), i / 3)
        tracked.append([[f.id, list(f.box), f.found] for f in found])
    return {"frames": frames, "tracked": tracked, "asked": detector.asked}


def list_segments() -> list[dict[str, Any]]:
    rng, cases = np.random.default_rng(5), []
    for n, gap in ((12, None), (14, (5, 6)), (1, None)):
        lead = np.where(np.arange(n) < n // 2, 3, 5)
        probs = rng.uniform(0, 0.5, (n, 7)) + 0.6 * np.eye(7)[lead]
        probs = (probs / probs.sum(1, keepdims=True)).round(4)
        if gap:
            probs[list(gap)] = np.nan
        found = find_segments(probs, 3.0, 1.0, n + 2.3)
        rows = [None if np.isnan(row[0]) else row.tolist() for row in probs]
        cases.append(
            {"rows": rows, "duration_s": n + 2.3, "segments": [s.to_dict() for s in found]}
        )
    return cases


def list_resampled() -> list[dict[str, Any]]:
    cases = []
    for from_hz, to_hz in ((44100, 48000), (96000, 48000), (16000, 48000)):
        t = np.arange(from_hz // 50) / from_hz
        sound = 0.5 * np.sin(2 * np.pi * 440 * t) + 0.2 * np.sin(2 * np.pi * 3000 * t)
        values = flatten(resample(sound.astype(np.float32), from_hz, to_hz)[::7])
        cases.append({"from_hz": from_hz, "to_hz": to_hz, "values": values})
    return cases


def make_vectors() -> dict[str, Any]:
    return {
        "shrunk": list_shrunk(),
        "grown": list_grown(),
        "face_crops": list_face_crops(),
        "colours": list_colours(),
        "small_colours": list_small_colours(),
        "samples": list_samples(),
        "boxes": list_boxes(),
        "pyramids": list_pyramids(),
        "tracking": follow_faces(),
        "segments": list_segments(),
        "resampled": list_resampled(),
    }


if __name__ == "__main__":
    VECTORS.write_text(json.dumps(make_vectors(), separators=(",", ":")) + "\n", encoding="utf-8")
