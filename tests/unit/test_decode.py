"""What one pass over a recording gives: frames by time, sound, damage, and what is refused."""

import struct
import wave
from fractions import Fraction
from pathlib import Path

import av
import cv2
import numpy as np
import pytest

from keras_emo.errors import Reason
from keras_emo.media import decode as decoding
from keras_emo.media.reader import read_media
from keras_emo.media.recording import Media, Streams

from .refusals import refused


def times(media: Media) -> list[float]:
    return [f.time_s for f in media.frames]


def pictures(media: Media) -> list[np.ndarray]:
    return [f.rgb for f in media.frames]


def tear(data: bytes, start: int, n_bytes: int, path: Path) -> Path:
    """The file with noise in place of some bytes."""
    noise = np.random.default_rng(1).bytes(n_bytes)
    path.write_bytes(data[:start] + noise + data[start + n_bytes :])
    return path


def find_middle(data: bytes) -> int:
    return (data.find(b"mdat") + data.find(b"moov")) // 2


@pytest.fixture(scope="module")
def noisy(make, tmp_path_factory) -> bytes:
    """An mp4 with more than a few bytes of picture in it, index at the end."""
    rng = np.random.default_rng(0)
    frames = [rng.integers(0, 256, (48, 64, 3), dtype=np.uint8) for _ in range(60)]
    folder = tmp_path_factory.mktemp("noisy")
    data = make.video(folder / "noisy.mp4", frames, sound=make.sine(2.0)).read_bytes()
    assert data.find(b"moov") > 0.9 * len(data)
    return data


def test_every_tenth_frame_to_the_last(clip, make):
    read = read_media(clip)
    np.testing.assert_allclose(times(read), np.arange(7) / 3, atol=1e-3)
    assert [make.read_grey(f) for f in pictures(read)] == [0, 10, 20, 30, 40, 50, 60]
    assert {(f.shape, f.dtype.name) for f in pictures(read)} == {((48, 64, 3), "uint8")}
    assert read.duration_s == pytest.approx(2.03, abs=0.03)
    assert (read.streams.has_video, read.cut, read.damaged_packets) == (True, False, 0)


@pytest.mark.parametrize(
    ("fps", "indices"),
    [
        (24, [0, 8, 16, 24, 32, 40]),
        (25, [0, 8, 17, 25, 33, 42]),
        (Fraction(30000, 1001), [0, 10, 20, 30, 40]),
        (60, [0, 20, 40]),
        (2, list(range(6))),  # slower than asked for: each once
    ],
)
def test_other_rates_by_time(fps, indices, make, tmp_path):
    n = indices[-1] + 1
    read = read_media(make.video(tmp_path / "a.mp4", make.grey_frames(n), fps=fps))
    assert [make.read_grey(f) for f in pictures(read)] == indices
    np.testing.assert_allclose(times(read), np.array(indices) / float(fps), atol=1e-3)


def test_variable_rate_by_time_stamp(make, tmp_path):
    times_s = [i / 30 for i in range(30)] + [3 + i / 30 for i in range(30)]  # a gap of 2 s
    read = read_media(make.video(tmp_path / "a.mp4", make.grey_frames(60), times_s=times_s))
    shown = [make.read_grey(f) for f in pictures(read)]
    np.testing.assert_allclose(times(read), [times_s[i] for i in shown], atol=2e-3)
    wanted_s = [0, 1 / 3, 2 / 3, 1, 3, 10 / 3, 11 / 3, 4]
    np.testing.assert_allclose(times(read), wanted_s, atol=0.05)


def test_frame_rate_and_limit(clip, make):
    assert len(read_media(clip, frame_rate_hz=30).frames) == 61
    given = []
    assert read_media(clip, on_frame=given.append).frames == ()
    assert [make.read_grey(f.rgb) for f in given] == [0, 10, 20, 30, 40, 50, 60]
    read = read_media(clip, max_frames=3)
    assert [make.read_grey(f) for f in pictures(read)] == [0, 10, 20]
    assert read.cut
    assert not read_media(clip, max_frames=7).cut


@pytest.mark.parametrize(
    ("name", "codec", "audio_codec"),
    [("a.mkv", "libx264", "aac"), ("a.webm", "libvpx", "libopus"), ("a.avi", "mpeg4", "pcm_s16le")],
)
def test_other_containers(name, codec, audio_codec, make, tmp_path):
    sound, path = make.sine(), tmp_path / name
    make.video(path, make.grey_frames(31), 30, None, sound, codec=codec, audio_codec=audio_codec,
               b="4000000")  # fmt: skip
    read = read_media(path)
    assert [make.read_grey(f) for f in pictures(read)] == [0, 10, 20, 30]
    assert len(read.waveform) == pytest.approx(48_000, abs=2100)  # whole blocks
    assert np.abs(np.fft.rfft(read.waveform[:48_000])).argmax() == pytest.approx(440, abs=1)


def turn(path: Path, matrix: tuple[int, int, int, int]) -> Path:
    """Write the track matrix of a turned phone into an mp4."""
    data = bytearray(path.read_bytes())
    a, b, c, d = (v << 16 for v in matrix)
    at = data.find(b"tkhd") + 44
    data[at : at + 36] = struct.pack(">9i", a, b, 0, c, d, 0, 0, 0, 1 << 30)
    path.write_bytes(data)
    return path


@pytest.mark.parametrize(
    ("matrix", "corner"),
    [
        ((0, 1, -1, 0), "top right"),
        ((-1, 0, 0, -1), "bottom right"),
        ((0, -1, 1, 0), "bottom left"),
    ],
)
def test_phone_orientation(matrix, corner, make, tmp_path):
    """A frame with one bright corner, top left, under the track matrix of a turned phone."""
    frame = np.zeros((48, 64, 3), np.uint8)
    frame[:16, :16] = 250
    path = make.video(tmp_path / "a.mp4", [frame] * 5)
    turn(path, matrix)
    shown = read_media(path).frames[0].rgb
    assert shown.shape == ((64, 48, 3) if matrix[0] == 0 else (48, 64, 3))
    y, x = np.unravel_index(cv2.blur(shown[..., 1], (9, 9)).argmax(), shown.shape[:2])
    vertical = "top" if y < shown.shape[0] / 2 else "bottom"
    assert f"{vertical} {'left' if x < shown.shape[1] / 2 else 'right'}" == corner


def test_large_pictures_are_shrunk_as_they_are_converted(make, tmp_path):
    frame = np.zeros((240, 320, 3), np.uint8)
    frame[60:120, 80:240] = 200
    path = make.video(tmp_path / "a.mp4", [frame] * 11)
    small, whole = read_media(path, max_px=80), read_media(path, max_px=320)
    assert [f.shape for f in pictures(small)] == [(60, 80, 3)] * 2
    assert [f.scale for f in small.frames] == [(4.0, 4.0)] * 2
    expected = cv2.resize(frame, (80, 60), interpolation=cv2.INTER_AREA)
    assert np.abs(pictures(small)[0].astype(int) - expected).mean() < 3
    assert [f.scale for f in whole.frames] == [(1.0, 1.0)] * 2
    np.testing.assert_array_equal(pictures(whole), pictures(read_media(path)))
    path = turn(make.video(tmp_path / "a.mp4", [np.zeros((100, 192, 3), np.uint8)]), (0, 1, -1, 0))
    read = read_media(path, max_px=64)
    assert read.frames[0].rgb.shape == (64, 33, 3)
    assert [f.scale for f in read.frames] == [(100 / 33, 3.0)]


@pytest.mark.parametrize("max_px", [0, 40])
@pytest.mark.parametrize("damaged", [False, True])
def test_threads_change_nothing(max_px, damaged, noisy, tmp_path):
    path = tear(noisy, find_middle(noisy), 3000 if damaged else 0, tmp_path / "a.mp4")
    one, eight = (read_media(path, threads=n, max_px=max_px) for n in (1, 8))
    np.testing.assert_array_equal(one.waveform, eight.waveform)
    assert times(one) == times(eight)
    if not damaged:  # what a decoder makes up for lost parts is not defined
        np.testing.assert_array_equal(pictures(one), pictures(eight))
        assert (one.damaged_packets, eight.damaged_packets) == (0, 0)


@pytest.mark.parametrize(
    ("codec", "step"),
    [("pcm_u8", 2**-7), ("pcm_s16le", 2**-15), ("pcm_s32le", 1e-6), ("pcm_f32le", 0)],
)
def test_sample_formats_agree(codec, step, make, tmp_path):
    sound = make.sine(0.2, level=0.9)
    read = read_media(make.wav(tmp_path / "a.wav", sound, codec=codec))
    assert read.waveform.dtype == np.float32
    np.testing.assert_allclose(read.waveform, sound, rtol=0, atol=step)
    assert (read.frames, read.streams.has_video) == ((), False)
    assert read.duration_s == pytest.approx(0.2)


@pytest.mark.parametrize(
    ("name", "codec"),
    [("a.m4a", "aac"), ("a.ogg", "libopus"), ("a.mp3", "libmp3lame"), ("a.ogg", "vorbis"),
     ("a.flac", "flac"), ("a.wav", "pcm_s16le")],
)  # fmt: skip
def test_stereo_is_averaged(name, codec, make, tmp_path):
    """A tone on the left and a softer one on the right: each comes out at half its level."""
    sound = np.stack([make.sine(1.5, hz=400.0, level=0.4), make.sine(1.5, hz=1000.0, level=0.2)])
    path = tmp_path / name
    with av.open(str(path), "w") as out:
        stream = out.add_stream(codec, rate=48_000, layout="stereo", options={"strict": "-2"})
        formats = [f.name for f in stream.codec.audio_formats]
        frame = av.AudioFrame.from_ndarray(sound, format="fltp", layout="stereo")
        frame.sample_rate, frame.pts = 48_000, 0
        for block in av.AudioResampler(formats[0], "stereo", 48_000).resample(frame):
            out.mux(stream.encode(block))
        out.mux(stream.encode())
    waveform = read_media(path).waveform[12_000:60_000]
    level = np.abs(np.fft.rfft(waveform)) / (len(waveform) / 2)  # of a sine at each Hz
    assert level[400] == pytest.approx(0.2, rel=0.25)
    assert level[1000] == pytest.approx(0.1, rel=0.6)  # Vorbis is coarse


def test_sound_limit(clip, make, tmp_path):
    assert len(read_media(clip, audio_s=0.5).waveform) == 24_000
    assert read_media(clip, audio_s=0).waveform is None
    path = make.wav(tmp_path / "a.wav", make.sine(0.2, 8000), 8000)
    assert len(read_media(path, audio_s=0.1).waveform) == 800
    assert len(read_media(path, audio_s=9).waveform) == 1600
    with wave.open(str(path), "wb") as f:
        f.setparams((1, 2, 48_000, 0, "NONE", ""))
    assert read_media(path).waveform is None


def test_one_stream_alone(clip, make, tmp_path):
    silent = read_media(make.video(tmp_path / "a.mp4", make.grey_frames(5)))
    assert (silent.waveform, len(silent.frames)) == (None, 1)
    blind = read_media(clip, frame_rate_hz=None)
    assert (blind.frames, blind.streams.has_video) == ((), False)
    assert len(blind.waveform) >= 96_000
    assert read_media(clip, frame_rate_hz=None, audio_s=0) == Media()


def test_truncated_mp4(noisy, tmp_path):
    for part in (0.3, 0.6, 0.95):
        (tmp_path / "a.mp4").write_bytes(noisy[: int(part * len(noisy))])
        refused(tmp_path / "a.mp4", Reason.TRUNCATED_CONTAINER)


@pytest.mark.parametrize(("codec", "n_bytes"), [("pcm_s16le", 2), ("pcm_f32le", 4)])
def test_truncated_wav_keeps_what_is_there(codec, n_bytes, make, tmp_path):
    path = make.wav(tmp_path / "a.wav", make.sine(), codec=codec)
    data = path.read_bytes()
    path.write_bytes(data[: n_bytes * 25_000])
    read = read_media(path)
    assert len(read.waveform) == pytest.approx(25_000, abs=100)
    assert read.missing_s == pytest.approx(1 - 25_000 / 48_000, abs=0.01)
    assert read_media(path, audio_s=0.5).missing_s == 0
    assert read_media(path, audio_s=0.9).missing_s == pytest.approx(0.9 - 25_000 / 48_000, abs=0.01)
    size_at = data.find(b"data") + 4  # a writer to a pipe cannot go back and fill it in
    path.write_bytes(data[:size_at] + b"\xff" * 4 + data[size_at + 4 :])
    assert (read_media(path).missing_s, len(read_media(path).waveform)) == (0, 48_000)


def test_truncated_wav_of_several_channels(tmp_path):
    """Of more than two channels, or 24 bits, FFmpeg writes the extensible format."""
    with av.open(str(tmp_path / "a.wav"), "w") as out:
        stream = out.add_stream("pcm_s24le", rate=48_000, layout="5.1")
        frame = av.AudioFrame.from_ndarray(np.ones((1, 6 * 48_000), np.int32), "s32", "5.1")
        frame.sample_rate, frame.pts = 48_000, 0
        out.mux([*stream.encode(frame), *stream.encode()])
    data = (tmp_path / "a.wav").read_bytes()
    assert data[20:22] == b"\xfe\xff"
    (tmp_path / "a.wav").write_bytes(data[: len(data) // 4])
    assert read_media(tmp_path / "a.wav").missing_s == pytest.approx(0.75, abs=0.01)


@pytest.mark.parametrize("n_bytes", [1000, 30_000])
def test_damage_in_the_middle_is_survived(n_bytes, noisy, tmp_path):
    read = read_media(tear(noisy, find_middle(noisy), n_bytes, tmp_path / "a.mp4"))
    assert read.damaged_packets > 0
    assert 4 <= len(read.frames) <= 6
    assert times(read) == sorted(times(read))
    assert len(read.waveform) > 0.7 * 96_000


def test_frames_that_the_decoder_guesses_at_are_damage(make, tmp_path):
    """MPEG-4 decodes what is left of a torn packet: no error, but a frame marked as corrupt."""
    path = make.video(tmp_path / "a.avi", moving_frames(60), codec="mpeg4", b="800000")
    data = bytearray(path.read_bytes())
    data[len(data) // 2 : len(data) // 2 + 50] = np.random.default_rng(0).bytes(50)
    path.write_bytes(data)
    read = read_media(path, frame_rate_hz=30)
    assert (len(read.frames), read.damaged_packets) == (60, 1)


def test_picture_without_one_whole_frame(noisy, tmp_path):
    start, end = noisy.find(b"mdat") + 4, noisy.find(b"moov") - 4
    path = tmp_path / "a.mp4"
    path.write_bytes(noisy[:start] + bytes(end - start) + noisy[end:])
    refused(path, Reason.NO_FRAMES)


def test_stream_without_decoder_is_an_absence(clip, make, tmp_path):
    source = make.video(tmp_path / "whole.mkv", make.grey_frames(31), sound=make.sine())
    path = tmp_path / "a.mkv"
    path.write_bytes(source.read_bytes().replace(b"V_MPEG4/ISO/AVC", b"V_MPEG4/ISO/ZZZ"))
    read = read_media(path)
    assert (read.streams, read.frames) == (Streams(False, True, ("video",)), ())
    assert len(read.waveform) >= 48_000
    assert read_media(path, frame_rate_hz=None).streams.undecodable == ()  # it was not asked for
    path.write_bytes(path.read_bytes().replace(b"A_AAC", b"A_ZZZ"))
    assert read_media(path).streams.undecodable == ("video", "audio")


def test_spare_streams_are_not_held_against_a_clip(clip, make, tmp_path):
    path = tmp_path / "a.mkv"
    with av.open(str(clip)) as source, av.open(str(path), "w") as out:
        copies = {s.index: out.add_stream_from_template(s) for s in source.streams}
        odd = out.add_stream("pcm_s16le", rate=2000, layout="mono")  # a rate that is refused
        frame = av.AudioFrame.from_ndarray(np.ones((1, 500), np.int16), "s16", "mono")
        frame.sample_rate, frame.pts = 2000, 0
        out.mux(odd.encode(frame))
        for packet in source.demux():
            if packet.dts is not None:
                packet.stream = copies[packet.stream.index]
                out.mux(packet)
    read = read_media(path)
    assert (len(read.frames), read.sample_rate_hz) == (7, 48_000)


def faststart(source: Path, target: Path) -> bytes:
    """The same streams with the index first."""
    options = {"movflags": "faststart"}
    with av.open(str(source)) as old, av.open(str(target), "w", options=options) as new:
        copies = {s.index: new.add_stream_from_template(s) for s in old.streams}
        for packet in old.demux():
            if packet.dts is not None:
                packet.stream = copies[packet.stream.index]
                new.mux(packet)
    return target.read_bytes()


@pytest.mark.parametrize("name", ["a.mp4", "a.mkv"])
def test_missing_end_is_measured(name, noisy, tmp_path):
    (tmp_path / "noisy.mp4").write_bytes(noisy)
    path = tmp_path / name
    data = faststart(tmp_path / "noisy.mp4", path)
    whole = read_media(path)
    assert (whole.missing_s, whole.damaged_packets) == (0, 0)
    path.write_bytes(data[: int(0.6 * len(data))])
    read = read_media(path)
    assert read.missing_s == pytest.approx(0.85, abs=0.15)
    assert 3 <= len(read.frames) <= 4
    # what is not read cannot be missed
    assert read_media(path, max_frames=2, audio_s=0.5).missing_s == 0


def test_damage_beyond_what_is_read_is_no_matter(noisy, tmp_path):
    path = tear(noisy, noisy.find(b"moov") - 9000, 7000, tmp_path / "a.mp4")
    assert read_media(path).damaged_packets > 0
    assert read_media(path, max_frames=2, audio_s=0.5).damaged_packets == 0


def test_reading_stops_when_all_is_there(make, monkeypatch, tmp_path):
    """The sound ends after half a second; the picture goes on for 20 s."""
    frames = [np.full((48, 64, 3), 90, np.uint8)] * 600
    path = make.video(tmp_path / "a.mp4", frames, sound=make.sine(0.5), bf="0")
    skipped = []
    monkeypatch.setattr(decoding.Decoding, "_note_end", lambda *a: skipped.append(a))
    read = read_media(path, max_frames=2)
    assert (len(read.frames), read.cut, read.missing_s) == (2, True, 0)
    assert len(skipped) < 100
    assert read.duration_s == pytest.approx(20, abs=0.1)  # as the container declares


def test_limits(clip, make, monkeypatch, tmp_path):
    monkeypatch.setattr(decoding, "MAX_PIXELS", 64 * 48)
    assert read_media(clip).frames
    monkeypatch.setattr(decoding, "MAX_PIXELS", 64 * 48 - 1)
    assert "64x48" in refused(clip, Reason.RESOLUTION_LIMIT).cause
    monkeypatch.undo()
    monkeypatch.setattr(decoding, "MAX_DURATION_S", 1.5)
    refused(clip, Reason.DURATION_LIMIT)
    refused(make.wav(tmp_path / "a.wav", make.sine(0.1, 2000), 2000), Reason.BAD_HEADER)


@pytest.fixture
def decoded(monkeypatch) -> list[float]:
    """The times of the pictures that come out of the decoder."""
    times_s: list[float] = []
    read_picture = decoding.Decoding._read_picture

    def watch(self, picture, on_frame) -> None:
        times_s.append(picture.time)
        read_picture(self, picture, on_frame)

    monkeypatch.setattr(decoding.Decoding, "_read_picture", watch)
    return times_s


def moving_frames(n: int) -> list[np.ndarray]:
    """Noise that moves to the left."""
    scene = np.random.default_rng(0).integers(0, 256, (96, 128 + n, 3), dtype=np.uint8)
    return [np.ascontiguousarray(scene[:, i : i + 128]) for i in range(n)]


KINDS = {
    "plain.mp4": {},
    "many.mp4": {"x264-params": "bframes=8:b-pyramid=strict:b-adapt=0"},
    "flat.mkv": {"x264-params": "bframes=5:b-pyramid=none:b-adapt=0"},
    "open.mp4": {"x264-params": "open-gop=1:keyint=12:min-keyint=6:bframes=3"},
    "lines.mp4": {"x264-params": "interlaced=1:bframes=3"},
    "ntsc.mp4": {"fps": Fraction(30000, 1001)},
}


@pytest.mark.parametrize("threads", [1, 8])
@pytest.mark.parametrize("kind", KINDS)
def test_spared_pictures_change_nothing(kind, threads, make, decoded, monkeypatch, tmp_path):
    path = make.video(tmp_path / kind, moving_frames(91), sound=make.sine(3.0), **KINDS[kind])
    fast = read_media(path, threads=threads)
    n_fast = len(decoded)
    decoded.clear()
    monkeypatch.setattr(decoding.Decoding, "_spare", lambda self, packet: False)
    slow = read_media(path, threads=threads)
    assert len(decoded) == 91
    assert n_fast < (70 if threads == 1 else 91)
    for kept, expected in zip(fast.frames, slow.frames, strict=True):
        np.testing.assert_array_equal(kept.rgb, expected.rgb)
        assert kept.time_s == expected.time_s
    np.testing.assert_array_equal(fast.waveform, slow.waveform)
    assert fast.duration_s == slow.duration_s
    assert (fast.missing_s, fast.damaged_packets) == (0, 0)


@pytest.mark.parametrize(("name", "options"), [("a.avi", {}), ("a.mp4", {"codec": "mpeg4"})])
def test_where_it_is_not_sure_all_is_decoded(name, options, make, decoded, tmp_path):
    path = make.video(tmp_path / name, make.grey_frames(61), bf="2", **options)
    read = read_media(path)
    shown = [make.read_grey(f) for f in pictures(read)]
    np.testing.assert_allclose(shown, np.arange(0, 61, 10), atol=1)  # MPEG-4 is coarse
    np.testing.assert_allclose(times(read), np.arange(7) / 3, atol=1e-3)  # AVI: the first at 1/30
    assert len(decoded) == 61


def test_after_damage_all_is_decoded(make, decoded, tmp_path):
    params = {"x264-params": "bframes=3:b-adapt=0"}
    path = make.video(tmp_path / "a.mp4", moving_frames(60), **params)
    data = bytearray(path.read_bytes())
    read_media(path)
    n_whole = len(decoded)
    decoded.clear()
    data[len(data) // 4 : len(data) // 4 + 3000] = bytes(3000)
    path.write_bytes(data)
    assert read_media(path).damaged_packets > 0
    late = [t for t in decoded if t > 0.99]
    assert len(late) == 30
    assert n_whole < 50
