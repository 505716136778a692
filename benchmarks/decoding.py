"""Where the time of a clip goes: decoding alone, read_media, the faces, prepare_clip.

python benchmarks/decoding.py CLIP [WIDTHxHEIGHT]   (scaled up to that size first, at 30 fps)
"""

from __future__ import annotations

import sys
import tempfile
import time
from collections.abc import Callable
from fractions import Fraction
from pathlib import Path
from statistics import median

ROUNDS = 7


def main(path: Path) -> None:
    from keras_emo.features.clip import prepare_clip
    from keras_emo.features.mtcnn import FaceDetector
    from keras_emo.features.tracking import FaceTracker
    from keras_emo.media.reader import read_media
    from keras_emo.spec import ClipSpec, FaceSpec

    now = ClipSpec()
    before = ClipSpec(FaceSpec(detect_every=1, decode_max_px=0))
    detector = FaceDetector()
    limits = {"max_px": now.face.decode_max_px}
    frames = read_media(path, **limits).frames

    def track(spec: ClipSpec) -> None:
        tracker = FaceTracker(spec.face, detector)
        for i, frame in enumerate(frames):
            tracker.update(frame.rgb, i / spec.face.frame_rate_hz)

    works: dict[str, Callable] = {
        "decode alone": lambda: decode(path),
        "read_media": lambda: read_media(path, on_frame=lambda frame: None, **limits),
        "of it, sound": lambda: read_media(path, frame_rate_hz=None),
        "faces, every frame": lambda: track(before),
        "faces, tracked": lambda: track(now),
        "prepare_clip before": lambda: prepare_clip(path, before, detector),
        "prepare_clip": lambda: prepare_clip(path, now, detector),
    }
    spent_ms: dict[str, list[float]] = {name: [] for name in works}
    for round_ in range(ROUNDS + 1):  # in turn; the first round warms up
        for name, work in works.items():
            start_s = time.perf_counter()
            work()
            if round_:
                spent_ms[name].append(1e3 * (time.perf_counter() - start_s))
    print(f"{len(frames)} sampled frames, one thread, median ms a clip")
    for name, times in spent_ms.items():
        print(f"{name:<20} {median(times):8.1f}")


def decode(path: Path) -> None:
    """Every frame of picture and sound, nothing done with them."""
    import av

    with av.open(str(path)) as container:
        for stream in container.streams:
            stream.codec_context.thread_count = 1
            stream.codec_context.thread_type = "SLICE"
        for packet in container.demux():
            packet.decode()


def scale_up(source: Path, target: Path, width: int, height: int) -> None:
    """The same clip at another size, 30 fps, H.264; the sound as it is."""
    import av

    with av.open(str(source)) as old, av.open(str(target), "w") as new:
        video = new.add_stream("libx264", rate=Fraction(30))
        video.width, video.height, video.pix_fmt = width, height, "yuv420p"
        video.codec_context.time_base = Fraction(1, 30)
        sound = new.add_stream_from_template(old.streams.audio[0]) if old.streams.audio else None
        n = 0
        for packet in old.demux():
            if packet.stream.type == "audio" and packet.dts is not None:
                packet.stream = sound
                new.mux(packet)
            elif packet.stream.type == "video":
                for frame in packet.decode():
                    large = frame.reformat(width, height, "yuv420p", interpolation="BICUBIC")
                    large.pts, large.time_base = n, Fraction(1, 30)
                    new.mux(video.encode(large))
                    n += 1
        new.mux(video.encode())


if __name__ == "__main__":
    if len(sys.argv) not in (2, 3):
        sys.exit(__doc__)
    clip = Path(sys.argv[1])
    if len(sys.argv) == 2:
        main(clip)
    else:
        with tempfile.TemporaryDirectory() as folder:
            large = Path(folder) / "large.mp4"
            scale_up(clip, large, *map(int, sys.argv[2].split("x")))
            main(large)
