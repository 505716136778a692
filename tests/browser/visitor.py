"""Actions of a visitor on the page, and what it shows."""

from __future__ import annotations

import base64
from pathlib import Path
from typing import Any

from selenium.webdriver.common.by import By
from selenium.webdriver.common.keys import Keys
from selenium.webdriver.remote.webdriver import WebDriver
from selenium.webdriver.remote.webelement import WebElement
from selenium.webdriver.support.ui import WebDriverWait

PATIENCE_S = 60

_DROP = """
const [name, data] = arguments;
const bytes = Uint8Array.from(atob(data), (c) => c.charCodeAt(0));
const transfer = new DataTransfer();
transfer.items.add(new File([bytes], name));
for (const kind of ["dragover", "drop"]) {
  const options = { dataTransfer: transfer, bubbles: true, cancelable: true };
  document.querySelector(".zone").dispatchEvent(new DragEvent(kind, options));
}
"""
# First and last white px of the overlay's middle row and column, as the video's own px.
_FRAME = """
const [canvas, video, box] = arguments;
const scale = Math.min(canvas.width / video.videoWidth, canvas.height / video.videoHeight);
const left = (canvas.width - video.videoWidth * scale) / 2;
const top = (canvas.height - video.videoHeight * scale) / 2;
const context = canvas.getContext("2d");
const white = (data) => Array.from({ length: data.length / 4 }, (_, i) => i)
  .filter((i) => [0, 1, 2, 3].every((c) => data[4 * i + c] > 250));
const row = Math.round(top + (box[1] + box[3] / 2) * scale);
const column = Math.round(left + (box[0] + box[2] / 2) * scale);
const across = white(context.getImageData(0, row, canvas.width, 1).data);
const down = white(context.getImageData(column, 0, 1, canvas.height).data);
return [(across.at(0) - left) / scale, (across.at(-1) - left) / scale, (down.at(-1) - top) / scale];
"""
_COUNT_COLOR = """
const [canvas, name] = arguments;
const paint = document.createElement("canvas").getContext("2d");
paint.fillStyle = getComputedStyle(canvas).getPropertyValue(name);
paint.fillRect(0, 0, 1, 1);
const wanted = paint.getImageData(0, 0, 1, 1).data;
const { data } = canvas.getContext("2d").getImageData(0, 0, canvas.width, canvas.height);
let n = 0;
for (let i = 0; i < data.length; i += 4) n += [0, 1, 2, 3].every((c) => data[i + c] === wanted[c]);
return n;
"""


class Visitor:
    """One visitor of the page of a service."""

    def __init__(self, driver: WebDriver, address: str):
        self.driver, self.address = driver, address
        driver.get(f"{address}/")
        self.wait(".zone")

    def find(self, css: str) -> WebElement:
        return self.driver.find_element(By.CSS_SELECTOR, css)

    def find_all(self, css: str) -> list[WebElement]:
        return self.driver.find_elements(By.CSS_SELECTOR, css)

    def wait(self, css: str) -> WebElement:
        """The first such element, once there is one."""
        self.wait_until(lambda: self.find_all(css))
        return self.find(css)

    def wait_until(self, condition: Any) -> Any:
        return WebDriverWait(self.driver, PATIENCE_S, 0.1).until(lambda _: condition())

    def choose(self, clip: Path) -> None:
        self.find("input[type=file]").send_keys(str(clip))

    def drop(self, clip: Path) -> None:
        data = base64.b64encode(clip.read_bytes()).decode()
        self.driver.execute_script(_DROP, clip.name, data)

    def click(self, text: str) -> None:
        self.find_button(text).click()

    def download(self, button: str, path: Path) -> str:
        """Text of a file that a button saves at path."""
        path.unlink(missing_ok=True)
        self.click(button)
        # Chromium holds the name with an empty file until it renames the whole one to it
        self.wait_until(lambda: path.is_file() and path.stat().st_size > 0)
        return path.read_text()

    def find_button(self, text: str) -> WebElement:
        return self.driver.find_element(
            By.XPATH, f"//button[contains(normalize-space(), '{text}')]"
        )

    def press(self, *keys: str) -> None:
        """To whatever has the focus."""
        for key in keys:
            self.driver.switch_to.active_element.send_keys(key)

    def tab_to(self, text: str) -> None:
        """Press Tab until the element with this text or label has the focus."""
        for _ in range(30):
            self.press(Keys.TAB)
            if text in self.name_focus():
                return
        raise AssertionError(f"Tab does not lead to {text!r}")

    def name_focus(self) -> str:
        focus = self.driver.switch_to.active_element
        return focus.get_attribute("aria-label") or focus.text or focus.get_attribute("type") or ""

    def read_frame(self, box: list[float]) -> list[float]:
        """Left, right and bottom of the drawn box in px of the video."""
        canvas, video = self.find(".stage canvas"), self.find(".stage video")
        return self.driver.execute_script(_FRAME, canvas, video, box)

    def count_color(self, emotion: str) -> int:
        """Pixels of an emotion's line in the chart."""
        return self.driver.execute_script(_COUNT_COLOR, self.find(".chart canvas"), f"--{emotion}")

    def read_time_s(self) -> float:
        """Position of the video."""
        return self.driver.execute_script(
            "return arguments[0].currentTime", self.find(".stage video")
        )

    def read_log(self) -> list[str]:
        """Warnings of the browser, except for refused requests."""
        lines = [entry["message"] for entry in self.driver.get_log("browser")]
        return [line for line in lines if "/v1/predict" not in line]

    def list_hosts(self) -> set[str]:
        """Hosts of everything that the page loaded."""
        script = (
            "return performance.getEntriesByType('resource').map((e) => new URL(e.name).origin)"
        )
        return set(self.driver.execute_script(script))
