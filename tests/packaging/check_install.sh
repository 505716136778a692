#!/bin/sh
# Wheel and sdist are complete; with only the wheel installed, from an empty folder, the command and
# the Python API predict with the pretrained model, and so they do with the sdist in its place.
# TRAIN=1: also trains and exports in an environment with requirements.txt.
#   sh tests/packaging/check_install.sh [DIST]     make dist-check builds DIST first
set -eu
root=$(cd "$(dirname "$0")/../.." && pwd)
dist=$(cd "${1:-dist}" && pwd)
python=$("${PYTHON:-python3}" -c 'import sys; print(sys.executable)')
wheel=$(echo "$dist"/*.whl)
sdist=$(echo "$dist"/*.tar.gz)
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT

fail() {
  echo "error: $1" >&2
  exit 1
}

# 1. What is inside: every module and every file of data, and of the sdist what its tests need.
"$python" - "$root" "$dist" <<'PYTHON'
import subprocess, sys, tarfile, zipfile
from pathlib import Path

root, dist = Path(sys.argv[1]), Path(sys.argv[2])
(wheel,), (sdist,) = dist.glob("*.whl"), dist.glob("*.tar.gz")
packed = set(zipfile.ZipFile(wheel).namelist())
unpacked = {n.partition("/")[2] for n in tarfile.open(sdist).getnames()}
listed = subprocess.run(
    ["git", "-C", root, "ls-files", "-z", "--cached", "--others", "--exclude-standard"],
    capture_output=True, text=True, check=True,
).stdout.split("\0")
listed = {n for n in listed if n and (root / n).is_file()}
bundle = {n.replace("saved_models/default", "keras_emo/pretrained", 1)
          for n in listed if n.startswith("saved_models/default/")}
assert len(bundle) >= 7, bundle
lacking = {n for n in listed if n.startswith("keras_emo/")} | bundle
lacking -= packed
assert not lacking, f"the wheel lacks {sorted(lacking)}"
odd = {n.split("/")[0] for n in packed} - {"keras_emo", wheel.name.split("-py3")[0] + ".dist-info"}
assert not odd, f"the wheel also holds {sorted(odd)}"
notices = {n.rsplit("/", 1)[1] for n in packed if ".dist-info/licenses/" in n}
assert notices >= {"LICENSE", "NOTICE"}, notices
lacking = {n for n in listed if not n.startswith((".ci/", ".git"))} - unpacked
assert not lacking, f"the sdist lacks {sorted(lacking)}"
extra = [n for n in unpacked if "__pycache__" in n or "node_modules" in n]
assert not extra, f"the sdist also holds {extra[:3]}"
print(f"{wheel.name}: {len(packed)} files; {sdist.name}: {len(unpacked)} entries")
PYTHON

# 2. The runtime alone, in an empty folder: predictions of the pretrained model.
make_venv() {
  "$python" -m venv "$work/$1"
  pip="$work/$1/bin/python -m pip install --quiet --disable-pip-version-check -c $root/constraints.txt"
}
make_venv runtime
$pip "$wheel"
mkdir "$work/empty"
cd "$work/empty"
run="$work/runtime/bin/keras-emo"
"$run" --version
"$work/runtime/bin/python" - clip.mp4 <<'PYTHON'
import sys
from fractions import Fraction

import av
import numpy as np

with av.open(sys.argv[1], "w") as container:
    video = container.add_stream("libx264", rate=10)
    video.width, video.height, video.pix_fmt = 160, 120, "yuv420p"
    audio = container.add_stream("aac", rate=16000, layout="mono")
    for i in range(30):
        picture = np.full((120, 160, 3), 40 + 3 * i, np.uint8)
        container.mux(video.encode(av.VideoFrame.from_ndarray(picture, format="rgb24")))
    container.mux(video.encode())
    t = np.arange(3 * 16000) / 16000
    sound = (0.3 * np.sin(2 * np.pi * 220 * t) * (t % 0.5)).astype(np.float32)
    frame = av.AudioFrame.from_ndarray(sound[None], format="fltp", layout="mono")
    frame.sample_rate, frame.pts, frame.time_base = 16000, 0, Fraction(1, 16000)
    container.mux(audio.encode(frame))
    container.mux(audio.encode())
PYTHON
predict_clip() {
  code=0
  "$run" predict clip.mp4 --format json >"$1" 2>messages || code=$?
  [ "$code" = 4 ] || fail "$(cat messages) (exit code $code, expected 4: a voice and no face)"
}
predict_clip first.json
grep -q '"label"' first.json || fail "no label: $(cat first.json)"
grep -q no_face first.json || fail "the missing face is not reported: $(cat first.json)"
"$work/runtime/bin/python" - first.json <<'PYTHON'
import json, sys

import numpy as np

import keras_emo

assert dir(keras_emo) == sorted(keras_emo.__all__), dir(keras_emo)
model = keras_emo.load()
p = model.predict("clip.mp4")
(printed,) = json.load(open(sys.argv[1]))
assert (p.label, p.modalities, p.to_dict()) == (printed["label"], ("voice",), printed)
assert p.probs["happy"] <= p.confidence and not p.path is None
wav = np.sin(np.arange(32000) / 16000 * 2 * np.pi * 220).astype(np.float32)
rgb = np.full((50, 120, 160, 3), 90, np.uint8)
p = model.predict(frames=rgb, fps=25, audio=wav, sample_rate=16000)
assert p.label in keras_emo.EMOTIONS and p.duration_s == 2.0, p
good, bad = model.predict_batch(["clip.mp4", "none.wav"])
assert good.label and isinstance(bad, keras_emo.EmoError), (good, bad)
t = model.timeline("clip.mp4")
assert t.windows and t.segments and t.to_dict()["schema"] == 1, t
assert "<html" in t.to_html()
t.plot("timeline.png")
assert [w.label for w in model.stream("clip.mp4")] == [w.label for w in t.windows]
assert model.embed("clip.mp4").dtype == np.float32
PYTHON
code=0
KERAS_EMO_BUNDLE=none "$run" predict clip.mp4 >none.json 2>messages || code=$?
[ "$code" = 5 ] || fail "a bundle that is not there: exit code $code, expected 5"
[ "$(grep -c . messages)" = 1 ] || fail "a bundle that is not there: $(cat messages)"
code=0
"$run" serve 2>messages || code=$?
[ "$code" = 6 ] && grep -q requirements-serve messages ||
  fail "serve without its packages: $code, $(cat messages)"
for heavy in tensorflow keras librosa fastapi; do
  "$work/runtime/bin/python" -c "import $heavy" 2>"$work/none" && fail "$heavy came along"
done
echo "$(basename "$wheel"): installed, predicts"

# 3. The sdist in the wheel's place, built as pip builds it; nothing of the wheel is left.
"$work/runtime/bin/python" -m pip uninstall --quiet --yes keras_emo
[ ! -e "$run" ] || fail "the wheel left $run behind"
$pip --no-deps "$sdist"
"$run" --version
predict_clip again.json
cmp first.json again.json || fail "the sdist predicts something else: $(cat again.json)"
echo "$(basename "$sdist"): installed, predicts the same"

# 4. With TRAIN=1: sound alone, one epoch, exported; the runtime above predicts with it.
[ -n "${TRAIN:-}" ] || exit 0
make_venv train
$pip -r "$root/requirements.txt"
$pip --no-deps "$wheel"
"$work/train/bin/python" - corpus <<'PYTHON'
import sys, wave
from pathlib import Path

import numpy as np

for k, speaker in enumerate(("DC", "JE", "JK", "KL")):
    for i, emotion in enumerate(("a", "d", "f", "h", "n", "sa", "su")):
        path = Path(sys.argv[1], speaker, f"{emotion}01.wav")
        path.parent.mkdir(parents=True, exist_ok=True)
        tone = np.sin(np.arange(48000) / 16000 * 2 * np.pi * (200 + 50 * i + 7 * k))
        with wave.open(str(path), "wb") as f:
            f.setparams((1, 2, 16000, 0, "NONE", ""))
            f.writeframes((9000 * tone).astype("<i2").tobytes())
PYTHON
cat > small.toml <<'TOML'
[run]
stages = ["audio_lstm"]
test = ["KL"]
val = ["JK"]
epochs = 1
[waves]
n_variants = 0
[model.audio_lstm]
units = 8
time_pool = 6
TOML
train="$work/train/bin/keras-emo"
"$train" train --data corpus --config small.toml --out run
"$train" export --run run --model audio_lstm --out bundle
"$run" predict corpus/KL/sa01.wav --bundle bundle --format csv
echo "$(basename "$wheel"): trained, exported"
