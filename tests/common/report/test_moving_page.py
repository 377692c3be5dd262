import json
import os
import re
import shutil
import subprocess
from html import unescape
from pathlib import Path

import numpy as np
import pytest
import walk

from benchmarks import accessibility, moving
from common.keypoints import IBUG_68
from common.report import moving_page
from common.report.page import templates

CHROMIUM = shutil.which("chromium") or shutil.which("google-chrome")
AXE = os.environ.get("AXE")  # axe.min.js, which npm pack axe-core fetches
HAND = """
<script>
const seen = {};
const text = (id) => document.getElementById(id).textContent;
const press = (id, key) =>
  document.getElementById(id).dispatchEvent(new KeyboardEvent("keydown", {key, cancelable: true}));
const slide = (id, value) => {
  const input = document.getElementById(id);
  if (input.type === "checkbox") input.checked = value; else input.value = value;
  input.dispatchEvent(new Event("input"));
};
function drag(node, x, y) {  // to a place in the units of its SVG
  const matrix = node.ownerSVGElement.getScreenCTM();
  const at = new DOMPoint(x, y).matrixTransform(matrix);
  node.dispatchEvent(new PointerEvent("pointerdown", {bubbles: true, cancelable: true}));
  dispatchEvent(new PointerEvent("pointermove", {clientX: at.x, clientY: at.y}));
  dispatchEvent(new PointerEvent("pointerup"));
  dispatchEvent(new PointerEvent("pointermove", {clientX: 0, clientY: 0}));  // after it is let go
}
const row = (id) => [...document.querySelectorAll(`#${id} td`)].map((cell) => cell.textContent);
seen.first = [text("sum"), text("where"), row("now"), text("wrong"), text("reads")];
drag(document.getElementById("window"), 11.5, 21.5);
press("window", "ArrowRight");
press("window", "ArrowUp");
seen.window = [text("sum"), document.getElementById("window").getAttribute("aria-valuetext")];
slide("flip", true);
seen.mirrored = [text("wrong"), row("numbers").filter((_, i) => i % 4 === 0)];
slide("rename", true);
slide("angle", 30);
slide("right", 7);
seen.renamed = [text("wrong"), row("numbers").filter((_, i) => i % 4 === 0)];
drag(document.getElementById("peak2"), 4, 14);
press("peak2", "ArrowLeft");
slide("second", 1);
seen.peaks = text("where");
const handle = document.querySelector("#at-loss circle[tabindex]");
drag(handle, 308, 0);
seen.far = row("now");
for (let i = 0; i < 90; i++)
  handle.dispatchEvent(new KeyboardEvent("keydown", {key: "ArrowLeft"}));
seen.near = row("now");
slide("side", 0);
slide("shift", 4);
seen.box = [text("reads"), document.querySelector("#errors td.now").textContent];
document.body.replaceChildren(document.createElement("pre"));
document.querySelector("pre").textContent = JSON.stringify(seen);
</script>
"""


@pytest.fixture(scope="module")
def page(tmp_path_factory):
    file = tmp_path_factory.mktemp("moving") / "moving.html"
    html = templates().get_template("moving.html").render(moving_page.moving())
    file.write_text(html, encoding="utf-8")
    return file


@pytest.fixture(scope="module")
def moved(page):
    """What the page says after the drags, keys and sliders of HAND."""
    copy = page.with_name("copy.html")
    copy.write_text(page.read_text().replace("</body>", HAND + "</body>"))
    done = subprocess.run(
        [CHROMIUM, "--headless", "--no-sandbox", "--disable-gpu", "--dump-dom",
         f"--user-data-dir={page.parent / 'profile'}", copy.as_uri()],
        capture_output=True, text=True, timeout=120,
    )  # fmt: skip
    return json.loads(unescape(re.search("<pre>(.*?)</pre>", done.stdout, re.DOTALL)[1]))


def numbers(text):
    return [float(number) for number in re.findall(r"-?\d+(?:\.\d+)?", text.replace("−", "-"))]


def convolved(x, y):
    pixels = np.array(moving_page.moving()["convolution"]["pixels"])[y : y + 3, x : x + 3]
    return int((pixels * [[-1, 0, 1], [-2, 0, 2], [-1, 0, 1]]).sum())


def mean(peaks, second, temperature=1):
    """Of softmax over 16 x 16 cells: (column, row)."""
    row, column = np.mgrid[:16, :16]
    near = [np.exp(-((column - x) ** 2 + (row - y) ** 2) / 3) for x, y in peaks]
    powers = np.exp(6 * (near[0] + second * near[1]) / temperature)
    return [(powers * axis).sum() / powers.sum() for axis in (column, row)]


def wing(error):
    near = 0.04 * np.log1p(error / 0.008), 0.04 / (0.008 + error)
    return near if error < 0.04 else (error - 0.04 + 0.04 * np.log(6), 1.0)


def test_without_a_script_tables_hold_the_numbers_and_nothing_that_cannot_be_used_is_shown(page):
    tree, faults = walk.read(page)
    assert faults == []
    assert all(node["hidden"] is not None for node in tree.all() if node["class"] == "live")
    hidden = [node for node in tree.all("div") if "hidden" in node.attributes]
    inside = [control for node in hidden for control in node.all("input", "select")]
    assert inside == list(tree.all("input", "select"))  # shown by the script alone
    assert not [node for node in tree.all("rect", "circle") if node["tabindex"]]
    x, y = moving_page.WINDOW
    (said,) = [node.text for node in tree.all("output") if node["id"] == "sum"]
    assert numbers(said) == [x, y, convolved(x, y)]
    for temperature, place, *_ in walk.table(page, "Means by temperature")[1:]:
        expected = mean(moving_page.PEAKS, moving_page.SECOND, float(temperature))
        assert numbers(place) == pytest.approx(expected, abs=0.051)
    for error, l1, squared, of_wing in walk.table(page, "Losses in numbers")[1:]:
        (size,) = numbers(error)
        assert numbers(l1) == pytest.approx([size, 1])
        assert numbers(squared) == pytest.approx([size**2, 2 * size], abs=6e-3)
        assert numbers(of_wing) == pytest.approx(wing(size), abs=6e-3)
    points = json.loads((moving_page.FOLDER / "face.json").read_text())
    for number, _, *places in walk.table(page, "Points in numbers")[1:]:  # the second cell is empty
        (u, v), (other, down) = points[int(number)], points[IBUG_68.flip_order[int(number)]]
        assert [numbers(one) for one in places] == [[u, v], [95 - u, v], [95 - other, down]]
    _, *rows = walk.table(page, "NME by box")
    sides, errors = [row[0] for row in rows], np.array([row[1:] for row in rows], float)
    best = [sides[place] for place in errors.argmin(axis=0)[[0, -1]]]
    assert (
        f"side of {best[0]} is best, with the largest shift that of {best[1]}" in page.read_text()
    )
    assert "http" not in page.read_text() and len(page.read_text()) < 400_000


@pytest.mark.slow
def test_the_face_is_the_one_that_the_benchmark_renders():
    picture, points = moving.face()
    assert points.tolist() == json.loads((moving_page.FOLDER / "face.json").read_text())
    with moving_page.Image.open(moving_page.FOLDER / "face.png") as kept:
        assert np.abs(np.asarray(kept).astype(int) - picture.numpy()).max() <= 1


@pytest.mark.slow
@pytest.mark.skipif(not CHROMIUM, reason="needs Chromium")
def test_drags_keys_and_sliders_move_the_figures(moved):
    x, y = moving_page.WINDOW
    total, where, row, wrong, reads = moved["first"]
    assert numbers(total) == [x, y, convolved(x, y)]
    assert numbers(where)[1:3] == pytest.approx(mean(moving_page.PEAKS, 0.9), abs=0.051)
    assert numbers(row[2]) == pytest.approx(wing(0.03), abs=6e-3)
    assert "belongs" in wrong and numbers(reads)[:2] == [1.2, 0]
    assert numbers(moved["window"][0]) == [11, 19, convolved(11, 19)]
    assert moved["window"][0] == moved["window"][1]  # a screen reader gets it, too
    assert numbers(moved["peaks"])[1:3] == pytest.approx(mean([(4, 6), (3, 14)], 1), abs=0.051)
    assert numbers(moved["far"][2]) == pytest.approx(wing(0.1), abs=6e-3)
    assert numbers(moved["near"][2]) == pytest.approx(wing(0.01), abs=6e-3)
    boxes = json.loads((moving_page.FOLDER / "boxes.json").read_text())
    said, cell = moved["box"]
    assert (
        numbers(said)[:3] == [0.9, 0.3, boxes["nme"][0][4]] and numbers(cell) == numbers(said)[2:3]
    )


@pytest.mark.slow
@pytest.mark.skipif(not CHROMIUM, reason="needs Chromium")
def test_a_mirrored_face_that_is_not_renamed_is_wrong_by_what_the_page_says(moved):
    points = np.array(json.loads((moving_page.FOLDER / "face.json").read_text()))
    mirrored = points * [-1, 1] + [95, 0]
    right = mirrored[IBUG_68.flip_order.numpy()]
    off = np.linalg.norm(mirrored - right, axis=1).mean()
    percent = 100 * off / np.linalg.norm(points[36] - points[45])
    wrong, now = moved["mirrored"]
    assert numbers(wrong) == pytest.approx([off, percent], abs=0.51)
    shown = list(moving_page.POINTS)
    assert np.array([numbers(one) for one in now]) == pytest.approx(mirrored[shown], abs=0.051)
    fine, now = moved["renamed"]
    turn = np.array([[np.cos(np.pi / 6), -0.5], [0.5, np.cos(np.pi / 6)]])
    turned = (right - 47.5) @ turn.T + 47.5 + [7, 0]
    assert "belongs" in fine
    assert np.array([numbers(one) for one in now]) == pytest.approx(turned[shown], abs=0.051)


@pytest.mark.slow
@pytest.mark.skipif(not (CHROMIUM and AXE), reason="needs Chromium and AXE")
@pytest.mark.parametrize("view", accessibility.VIEWS)
def test_axe_finds_no_serious_fault(page, view):
    found = accessibility.faults(page, Path(AXE).read_text(), CHROMIUM, *accessibility.VIEWS[view])
    assert [fault for fault in found if fault[0] in ("serious", "critical")] == []
