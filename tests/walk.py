"""A page as a tree, for tests that walk it."""

import re
from dataclasses import dataclass, field
from functools import lru_cache
from html.parser import HTMLParser

EMPTY = {"br", "hr", "img", "input", "link", "meta", "wbr"}  # elements that have no end
UNSEEN = {"script", "style", "template"}


@dataclass
class Node:
    """An element: its name, attributes and what is in it, elements and texts in order."""

    tag: str
    attributes: dict[str, str]
    inside: list = field(default_factory=list)

    def all(self, *tags):
        """All elements below this one, in the page's order; of these names if any are given."""
        for part in self.inside:
            if isinstance(part, Node):
                if not tags or part.tag in tags:
                    yield part
                yield from part.all(*tags)

    def __getitem__(self, name):
        return self.attributes.get(name, "")

    @property
    def text(self):
        """What a reader sees of it, white space made one blank."""
        parts = [
            part if isinstance(part, str) else "" if part.tag in UNSEEN else part.text
            for part in self.inside
        ]
        return " ".join("".join(parts).split())


class Reader(HTMLParser):
    """Builds the tree; ``faults`` names what was opened and never closed, or the other way."""

    def __init__(self):
        super().__init__()
        self.root = Node("page", {})
        self.open, self.faults = [self.root], []

    def handle_starttag(self, tag, attributes):
        names = [name for name, _ in attributes]
        if len(names) != len(set(names)):
            self.faults.append(f"<{tag}> has an attribute twice")
        node = Node(tag, {name: value or "" for name, value in attributes})
        self.open[-1].inside.append(node)
        if tag not in EMPTY:
            self.open.append(node)

    def handle_endtag(self, tag):
        if self.open[-1].tag != tag:
            self.faults.append(f"</{tag}> where <{self.open[-1].tag}> is open")
        elif len(self.open) > 1:
            self.open.pop()

    def handle_data(self, data):
        self.open[-1].inside.append(data)


def read(path):
    """The tree of a page, and the faults of its markup."""
    return parsed(path.read_text(encoding="utf-8"))


@lru_cache(maxsize=32)
def parsed(source):
    """The same of the page's source: most pages are read by several tests."""
    reader = Reader()
    reader.feed(source)
    reader.close()
    return reader.root, reader.faults + [
        f"<{node.tag}> is never closed" for node in reader.open[1:]
    ]


def captions(path):
    """The captions of a page's figures, in order."""
    return [caption.text for caption in read(path)[0].all("figcaption")]


def table(path, label):
    """The rows of the table in the region of this name, texts of its cells, heads first."""
    (region,) = [node for node in read(path)[0].all("div") if node["aria-label"] == label]
    return [[cell.text for cell in row.all("th", "td")] for row in region.all("tr")]


def luminance(colour):
    """Relative luminance of ``#rgb`` or ``#rrggbb``, as WCAG 2.2 defines it."""
    digits = colour.removeprefix("#")
    digits = "".join(2 * digit for digit in digits) if len(digits) == 3 else digits
    parts = [int(digits[i : i + 2], 16) / 255 for i in (0, 2, 4)]
    linear = [c / 12.92 if c <= 0.04045 else ((c + 0.055) / 1.055) ** 2.4 for c in parts]
    return 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]


def contrast(one, other):
    """WCAG's contrast ratio of two colours, 1 to 21."""
    dark, light = sorted((luminance(one), luminance(other)))
    return (light + 0.05) / (dark + 0.05)


def palettes(style):
    """The colours that a style sheet names, one dict a ``:root`` block."""
    return [
        dict(re.findall(r"--([\w-]+): (#\w+)", block))
        for block in re.findall(r":root \{(.*?)\}", style, re.DOTALL)
    ]
