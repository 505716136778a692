"""A running service, Debian's Chromium, and clips that a visitor might choose."""

from __future__ import annotations

import shutil
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest

ROOT = Path(__file__).resolve().parents[2]
BUNDLE = ROOT / "saved_models" / "default"
CHROMIUM, DRIVER = "/usr/bin/chromium", "/usr/bin/chromedriver"
KEY = "a-key-of-the-browser-tests"
TAKE = "Actor_08/01-01-{}-02-01-01-08.mp4"  # of the built-in corpus: happy, sad
SWITCHES = (
    "--headless", "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run",
    "--disable-background-networking", "--disable-component-update", "--disable-sync",
    "--use-fake-device-for-media-stream", "--use-fake-ui-for-media-stream",
    "--window-size=1200,1600",
)  # fmt: skip


@pytest.fixture(scope="session")
def run_service(tmp_path_factory):
    """Start `keras-emo serve` with options; returns its address once it is ready."""
    from ..integration.service import Running

    started = []

    def run(*options: str, **environment: str) -> str:
        started.append(Running(tmp_path_factory.mktemp("service"), *options, **environment))
        return started[-1].url

    yield run
    for running in started:
        running.end()


@pytest.fixture(scope="session")
def service(run_service) -> str:
    return run_service()


@pytest.fixture(scope="session")
def strict_service(run_service) -> str:
    """Requires a key, accepts a megabyte, and one clip at a time without a queue."""
    return run_service("--queue", "0", "--max-upload-mb", "1", KERAS_EMO_API_KEY=KEY)


@pytest.fixture(scope="session")
def clips(make, tmp_path_factory) -> SimpleNamespace:
    """talk: a drawn person, happy and then sad; soundless and faceless lack that."""
    from keras_emo.demo_corpus import BuiltinSpec
    from keras_emo.demo_corpus.corpus import render_clip

    folder = tmp_path_factory.mktemp("clips")
    takes = [render_clip(TAKE.format(code), BuiltinSpec()) for code in ("03", "04")]
    seen = [frame for frames, _ in takes for frame in frames]
    sound = np.concatenate([waveform for _, waveform in takes])
    (folder / "broken.mp4").write_bytes(np.random.default_rng(0).bytes(20_000))
    (folder / "large.mp4").write_bytes(bytes(3_000_000))
    return SimpleNamespace(
        talk=make.video(folder / "talk.mp4", seen, sound=sound, crf="26"),
        soundless=make.video(folder / "soundless.mp4", seen, crf="26"),
        faceless=make.video(
            folder / "faceless.mp4", [np.full_like(seen[0], 90)] * len(seen), sound=sound
        ),
        broken=folder / "broken.mp4",
        large=folder / "large.mp4",
    )


@pytest.fixture(scope="session")
def downloads(tmp_path_factory) -> Path:
    return tmp_path_factory.mktemp("downloads")


@pytest.fixture(scope="session")
def chromium(downloads: Path, tmp_path_factory):
    """A driver of one Chromium for all tests. Skips where it is not installed."""
    webdriver = pytest.importorskip("selenium.webdriver")
    for program in (CHROMIUM, DRIVER):
        if shutil.which(program) is None:
            pytest.skip(f"no {program}: apt-get install chromium chromium-driver")
    options = webdriver.ChromeOptions()
    options.binary_location = CHROMIUM
    for switch in (*SWITCHES, f"--user-data-dir={tmp_path_factory.mktemp('profile')}"):
        options.add_argument(switch)
    options.set_capability("goog:loggingPrefs", {"browser": "ALL"})
    driver = webdriver.Chrome(options, webdriver.ChromeService(DRIVER))
    driver.set_script_timeout(60)
    driver.execute_cdp_cmd(
        "Browser.setDownloadBehavior", {"behavior": "allow", "downloadPath": str(downloads)}
    )
    yield driver
    driver.quit()


@pytest.fixture
def visitor(chromium, service: str):
    """A visitor of the page."""
    from .visitor import Visitor

    return Visitor(chromium, service)


@pytest.fixture
def strict(chromium, strict_service: str):
    """A visitor of the page of the strict service."""
    from .visitor import Visitor

    return Visitor(chromium, strict_service)
