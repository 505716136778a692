"""The page by keyboard, for screen readers, on small screens and in the dark."""

from __future__ import annotations

import pytest

pytest.importorskip("selenium")
pytest.importorskip("fastapi")

from selenium.webdriver.common.keys import Keys

from .conftest import ROOT
from .visitor import Visitor

pytestmark = pytest.mark.slow

AXE = ROOT / "web" / "node_modules" / "axe-core" / "axe.min.js"
AXE_RUN = """
const done = arguments[arguments.length - 1];
axe.run(document).then(({ violations }) => done(violations.map(
  (v) => `${v.id}: ${v.nodes.map((n) => n.target.join(" ")).join(", ")}`)));
"""


def test_the_keyboard_alone_is_enough(visitor, clips):
    visitor.press(Keys.TAB)
    assert visitor.name_focus() == "file"
    visitor.choose(clips.talk)
    headline = visitor.wait("#overall").text
    visitor.wait_until(lambda: visitor.name_focus() == headline)
    assert headline in visitor.find("[role=status]").get_property("textContent")
    visitor.tab_to("Download CSV")
    visitor.tab_to("Your clip")
    visitor.tab_to("Show as table")
    visitor.press(Keys.SPACE)
    assert visitor.wait(".windows")
    visitor.tab_to("Moment in the clip")
    visitor.press(*[Keys.ARROW_RIGHT] * 5)
    visitor.wait_until(lambda: visitor.find("#moment").text == "At 0:00.5")
    visitor.wait_until(lambda: visitor.read_time_s() == pytest.approx(0.5))
    assert "0:00.5, " in visitor.driver.switch_to.active_element.get_attribute("aria-valuetext")
    visitor.tab_to("service")
    visitor.find("#overall").click()
    visitor.tab_to("Another clip")
    visitor.press(Keys.ENTER)
    visitor.wait_until(lambda: visitor.name_focus() == "file")


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("width_px", [360, 1200])
def test_accessibility(visitor, clips, scheme, width_px):
    """axe-core finds no violation, and the page fits the screen."""
    if not AXE.is_file():
        pytest.skip("no axe-core: npm ci in web/")
    driver = visitor.driver
    # without motion, or axe-core may see a button halfway between the colors of two schemes
    media = {"prefers-color-scheme": scheme, "prefers-reduced-motion": "reduce"}
    features = [{"name": name, "value": value} for name, value in media.items()]
    driver.execute_cdp_cmd("Emulation.setEmulatedMedia", {"features": features})
    metrics = {"width": width_px, "height": 900, "deviceScaleFactor": 1, "mobile": False}
    driver.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", metrics)
    try:
        driver.execute_script(AXE.read_text())
        check_page(visitor)
        visitor.drop(clips.broken)
        visitor.wait("#failure")
        check_page(visitor)
        visitor.choose(clips.talk)
        visitor.wait("#overall")
        check_page(visitor)
        visitor.click("Show as table")
        visitor.wait(".windows")
        check_page(visitor)
    finally:
        driver.execute_cdp_cmd("Emulation.clearDeviceMetricsOverride", {})
        driver.execute_cdp_cmd("Emulation.setEmulatedMedia", {"features": []})


def check_page(visitor: Visitor) -> None:
    assert visitor.driver.execute_async_script(AXE_RUN) == []
    sizes = "return [document.documentElement.scrollWidth, innerWidth]"
    content, screen = visitor.driver.execute_script(sizes)
    assert content <= screen
