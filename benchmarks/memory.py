"""Peak memory of keras-emo predict --timeline on a short and on a long video.

python benchmarks/memory.py [--clip CLIP] [--minutes 120] [--container mkv] [--bundle DIR]

The videos are one clip again and again (default: a clip of the built-in corpus), its packets
copied. Each is predicted in a process of its own; its peak resident memory is printed. In an mp4
FFmpeg holds an index of every picture and packet of sound, about 40 bytes each; in an mkv it does
not.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path

AIM = 1.2  # peak of the long one over peak of the short one
PAUSE_S = 0.05  # between copies: streams of one clip do not end together


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--clip", type=Path)
    parser.add_argument("--minutes", type=float, default=120.0, help="of the long video")
    parser.add_argument("--container", choices=("mp4", "mkv"), default="mp4")
    parser.add_argument("--bundle", type=Path, default=Path("saved_models/default"))
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        clip = options.clip or draw_clip(Path(folder))
        peaks_mib = []
        for minutes in (1.0, options.minutes):
            video = Path(folder) / f"video.{options.container}"
            repeat_clip(clip, video, minutes * 60)
            started_s = time.perf_counter()
            peak_mib, timeline = measure(video, options.bundle, Path(folder) / "timeline.json")
            spent_s = time.perf_counter() - started_s
            peaks_mib.append(peak_mib)
            print(f"{timeline['duration_s'] / 60:7.1f} min  {len(timeline['windows'])} windows  "
                  f"{spent_s:.0f} s  peak {peak_mib:.0f} MiB", flush=True)  # fmt: skip
    ratio = peaks_mib[1] / peaks_mib[0]
    print(f"ratio {ratio:.3f}, aim at most {AIM}")
    return int(ratio > AIM)


def draw_clip(root: Path) -> Path:
    """A clip of the built-in corpus."""
    from keras_emo.demo_corpus import BuiltinSpec, list_clips
    from keras_emo.demo_corpus.corpus import write_clip

    spec = BuiltinSpec()
    name = list_clips(spec)[0]
    write_clip(root, name, spec)
    return root / name


def repeat_clip(clip: Path, target: Path, length_s: float) -> None:
    """The clip's packets, again and again, until length_s is reached."""
    import av

    with av.open(str(target), "w") as new:
        streams, base_s = {}, 0.0
        while base_s < length_s:
            with av.open(str(clip)) as old:
                for stream in old.streams:
                    if stream.index not in streams:
                        streams[stream.index] = new.add_stream_from_template(stream)
                end_s = base_s
                for packet in old.demux():
                    if packet.dts is None:
                        continue
                    shift = round(base_s / packet.time_base)
                    packet.pts, packet.dts = packet.pts + shift, packet.dts + shift
                    end_s = max(end_s, float((packet.pts + packet.duration) * packet.time_base))
                    packet.stream = streams[packet.stream_index]
                    new.mux(packet)
            base_s = end_s + PAUSE_S


def measure(video: Path, bundle: Path, out: Path) -> tuple[float, dict]:
    """Peak resident memory in MiB of predicting the video, and its timeline."""
    command = [sys.executable, "-m", "keras_emo", "predict", str(video), "--timeline",
               "--bundle", str(bundle), "--format", "json", "--out", str(out)]  # fmt: skip
    process = subprocess.Popen(command)
    _, status, used = os.wait4(process.pid, 0)
    process.returncode = os.waitstatus_to_exitcode(status)
    if process.returncode not in (0, 4):
        raise SystemExit(f"keras-emo ended with {process.returncode}")
    (timeline,) = json.loads(out.read_text(encoding="utf-8"))
    return used.ru_maxrss / 1024, timeline


if __name__ == "__main__":
    sys.exit(main())
