"""What axe-core finds wrong with the pages: ``python -m benchmarks.accessibility axe.min.js``.

axe-core (Deque, MPL 2.0) is a script that looks for what keeps people with disabilities out of a
page; ``npm pack axe-core`` fetches it, as ``package/axe.min.js``. Each page is opened in headless
Chromium, light and dark, wide and narrow.
"""

from __future__ import annotations

import argparse
import json
import re
import shutil
import subprocess
import sys
import tempfile
from html import unescape
from pathlib import Path

VIEWS = {"light, 1280 pixels": ("1280,900", ""), "dark, 390 pixels": ("390,900", "dark")}
GRAVE = ("serious", "critical")
ASK = """
<script>
axe.run(document, {iframes: false}).then(found => {
  const told = found.violations.map(
    fault => [fault.impact, fault.id, fault.nodes.map(node => node.target.join(" "))]);
  const place = document.createElement("pre");
  place.id = "found-by-axe";
  place.textContent = JSON.stringify(told);
  document.body.replaceChildren(place);
});
</script>
"""


def faults(page: Path, axe: str, chromium: str, size: str, scheme: str) -> list[list]:
    """[impact, rule, [elements]] of each rule that a page breaks, seen in a window of ``size``.

    Raises RuntimeError where Chromium gives no answer.
    """
    text = page.read_text(encoding="utf-8")
    if scheme == "dark":
        text = text.replace("(prefers-color-scheme: dark)", "all")
    asking = f"<base href='{page.parent.resolve().as_uri()}/'><script>{axe}</script>{ASK}</body>"
    with tempfile.TemporaryDirectory() as folder:
        copy = Path(folder) / "page.html"
        copy.write_text(text.replace("</body>", asking), encoding="utf-8")
        done = subprocess.run(
            [
                chromium, "--headless", "--no-sandbox", "--disable-gpu", "--dump-dom",
                f"--user-data-dir={folder}/profile", f"--window-size={size}",
                "--virtual-time-budget=60000", copy.as_uri(),
            ],
            capture_output=True, text=True, check=False,
        )  # fmt: skip
    told = re.search('<pre id="found-by-axe">(.*?)</pre>', done.stdout, re.DOTALL)
    if told is None:
        raise RuntimeError(f"{page}: no answer from {chromium}: {done.stderr[-300:]}")
    return json.loads(unescape(told[1]))


def main() -> int:
    """Print the faults of every page; exit status 1 where one is serious or critical, 2 where
    nothing could be looked at."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("axe", type=Path, metavar="AXE.MIN.JS")
    parser.add_argument("--reports", type=Path, default=Path("reports"), metavar="DIR")
    asked = parser.parse_args()
    chromium = shutil.which("chromium") or shutil.which("google-chrome")
    pages = sorted(asked.reports.rglob("index.html"))
    if chromium is None or not asked.axe.is_file() or not pages:
        lacks = "Chromium" if chromium is None else asked.axe if pages else asked.reports
        print(f"error: {lacks}: not here, so nothing was looked at", file=sys.stderr)
        return 2
    axe, grave = asked.axe.read_text(encoding="utf-8"), 0
    for page in pages:
        for view, how in VIEWS.items():
            found = faults(page, axe, chromium, *how)
            grave += sum(impact in GRAVE for impact, *_ in found)
            print(f"{page}, {view}: {len(found)} rules broken")
            for impact, rule, places in found:
                print(f"  {impact}: {rule}, {len(places)} times, first {places[0]}")
    return int(grave > 0)


if __name__ == "__main__":
    sys.exit(main())
