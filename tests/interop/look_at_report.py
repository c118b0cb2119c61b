"""Open a page in Debian's Chromium at two widths, light and dark, and print as JSON what a reader would see.

    python look_at_report.py PAGE FOLDER

Screenshots go to FOLDER. Needs playwright and a Chromium; it loads nothing else.
"""

import json
import sys
from pathlib import Path
from typing import Any

from playwright.sync_api import Browser, sync_playwright

LOOK = """() => {
  const linear = v => (v /= 255) <= 0.03928 ? v / 12.92 : ((v + 0.055) / 1.055) ** 2.4;
  const parts = color => color.match(/[\\d.]+/g).map(Number);
  const light = ([r, g, b]) => 0.2126 * linear(r) + 0.7152 * linear(g) + 0.0722 * linear(b);
  const behind = e => { for (; e; e = e.parentElement) {
    const c = parts(getComputedStyle(e).backgroundColor); if (c.length == 3 || c[3] > 0) return c; } };
  const texts = [...document.querySelectorAll("body *")].filter(e => e.getClientRects().length
    && [...e.childNodes].some(n => n.nodeType == 3 && n.data.trim()));
  const contrast = e => {
    const style = getComputedStyle(e), svg = e instanceof SVGElement;
    const [a, b] = [light(parts(svg ? style.fill : style.color)), light(behind(e))].sort((x, y) => y - x);
    return (a + 0.05) / (b + 0.05); };
  const outside = [...document.querySelectorAll("circle, .mean, .ticks text")].filter(e => {
    const own = e.getBoundingClientRect(), all = e.ownerSVGElement.getBoundingClientRect();
    return own.left < all.left - 1 || own.right > all.right + 1; });
  return {
    width: innerWidth, wanted: document.documentElement.scrollWidth, outside: outside.length,
    contrast: Math.min(...texts.map(contrast)),
    smallest: Math.min(...texts.map(e => parseFloat(getComputedStyle(e).fontSize))),
    paper: light(parts(getComputedStyle(document.body).backgroundColor)),
    spread: Math.max(...[...document.querySelectorAll("figure")].map(f => {
      const xs = [...f.querySelectorAll("circle, .mean")].flatMap(e => {
        const r = e.getBoundingClientRect(); return [r.left, r.right]; });
      return (Math.max(...xs) - Math.min(...xs)) / f.getBoundingClientRect().width; })),
  }; }"""


def look(browser: Browser, page: Path, folder: Path, width: int, scheme: Any) -> dict[str, Any]:
    """What is seen at one width, in one scheme of colours."""
    tab = browser.new_context(viewport={"width": width, "height": 900}, color_scheme=scheme).new_page()
    asked: list[str] = []
    tab.on("request", lambda request: asked.append(request.url))
    complaints: list[str] = []
    tab.on("console", lambda message: complaints.append(message.text))
    tab.goto(page.as_uri())
    seen: dict[str, Any] = tab.evaluate(LOOK)
    tab.screenshot(path=folder / f"report-{width}-{scheme}.png", full_page=True)
    return seen | {"scheme": scheme, "asked": len(asked), "complaints": complaints}


def main() -> None:
    """Look four times."""
    page, folder = (Path(argument).resolve() for argument in sys.argv[1:])
    with sync_playwright() as player:
        browser = player.chromium.launch(executable_path="/usr/bin/chromium", args=["--no-sandbox"])
        looks = [look(browser, page, folder, w, scheme) for w in (400, 1200) for scheme in ("light", "dark")]
        browser.close()
    print(json.dumps(looks))


if __name__ == "__main__":
    main()
