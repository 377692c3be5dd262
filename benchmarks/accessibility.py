"""What axe-core finds wrong with the pages: ``python -m benchmarks.accessibility axe.min.js``.

axe-core (Deque, MPL 2.0) is a script that looks for what keeps people with disabilities out of a
page; ``npm pack axe-core`` fetches it, as ``package/axe.min.js``. Each page is opened in headless
Chromium, light and dark, wide and narrow. The exit status is 1 if a fault is serious or critical.
"""

from __future__ import annotations

import json
import re
import shutil
import subprocess
import tempfile
from html import unescape
from pathlib import Path

from benchmarks import parser_of, run
from common.system.errors import UserError

VIEWS = {"light, 1280 pixels": ("1280,900", ""), "dark, 390 pixels": ("390,900", "dark")}
RUN_AXE = """
<script>
axe.run(document, {iframes: false}).then(found => {
  const faults = found.violations.map(
    fault => [fault.impact, fault.id, fault.nodes.map(node => node.target.join(" "))]);
  const place = document.createElement("pre");
  place.id = "found-by-axe";
  place.textContent = JSON.stringify(faults);
  document.body.replaceChildren(place);
});
</script>
"""


def faults(page: Path, axe: str, chromium: str, size: str, scheme: str) -> list[list]:
    """[impact, rule, [elements]] of each rule that a page breaks, by the script's text ``axe``.

    size: of the window, such as "390,900". scheme: "dark", or "" for light.
    Raises RuntimeError where Chromium gives no result.
    """
    text = page.read_text(encoding="utf-8")
    if scheme == "dark":
        text = text.replace("(prefers-color-scheme: dark)", "all")
    added = f"<base href='{page.parent.resolve().as_uri()}/'><script>{axe}</script>{RUN_AXE}</body>"
    with tempfile.TemporaryDirectory() as folder:
        copy = Path(folder) / "page.html"
        copy.write_text(text.replace("</body>", added), encoding="utf-8")
        line = [
            chromium, "--headless", "--no-sandbox", "--disable-gpu", "--dump-dom",
            f"--user-data-dir={folder}/profile", f"--window-size={size}",
            "--virtual-time-budget=60000", copy.as_uri(),
        ]  # fmt: skip
        done = subprocess.run(line, capture_output=True, text=True, check=False)
    found = re.search('<pre id="found-by-axe">(.*?)</pre>', done.stdout, re.DOTALL)
    if found is None:
        raise RuntimeError(f"{page}: no result from {chromium}: {done.stderr[-300:]}")
    return json.loads(unescape(found[1]))


def main() -> int:
    """Print the faults of every page; returns the exit status."""
    parser = parser_of(__doc__)
    parser.add_argument("axe", type=Path, metavar="AXE.MIN.JS")
    parser.add_argument("--reports", type=Path, default=Path("reports"), metavar="DIR")
    options = parser.parse_args()
    chromium = shutil.which("chromium") or shutil.which("google-chrome")
    pages = sorted(options.reports.rglob("*.html"))
    if chromium is None or not options.axe.is_file() or not pages:
        lacks = "Chromium" if chromium is None else options.axe if pages else options.reports
        raise UserError(f"{lacks}: not here, so nothing was checked")
    axe, grave = options.axe.read_text(encoding="utf-8"), False
    for page in pages:
        for view, how in VIEWS.items():
            found = faults(page, axe, chromium, *how)
            print(f"{page}, {view}: {len(found)} rules broken")
            for impact, rule, places in found:
                grave |= impact in ("serious", "critical")
                print(f"  {impact}: {rule}, {len(places)} times, first {places[0]}")
    return int(grave)


if __name__ == "__main__":
    run(main)
