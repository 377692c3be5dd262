"""Markdown files as pages, and what a page says, section by section, for a search."""

from __future__ import annotations

import re
from collections.abc import Callable
from html.parser import HTMLParser
from itertools import pairwise

from markdown_it import MarkdownIt

HEADINGS = ("h1", "h2", "h3", "dt")
UNREAD = ("script", "style", "pre", "svg", "nav")


def markdown(text: str, link: Callable[[str], str]) -> str:
    """CommonMark with tables as HTML; headings have GitHub's anchors, and what is wide scrolls.

    link: from a link's or picture's address in the file to that on the page.
    """
    reader = MarkdownIt("commonmark", {"html": True, "xhtmlOut": False}).enable("table")
    tokens = reader.parse(text)
    for before, token in pairwise(tokens):
        if before.type == "heading_open":
            before.attrSet("id", anchor(token.content))
        if token.type == "th_open":
            token.attrSet("scope", "col")
        for part in token.children or ():
            for name in {"href", "src"} & part.attrs.keys():
                part.attrSet(name, link(str(part.attrs[name])))
    html = reader.renderer.render(tokens, reader.options, {}).replace("<pre>", '<pre tabindex="0">')
    before, *tables = html.split("<table>")
    for number, table in enumerate(tables, 1):
        opened = f'<div class="scroll" role="region" aria-label="Table {number}" tabindex="0">'
        before += f"{opened}<table>{table}"
    return before.replace("</table>", "</table></div>")


def anchor(heading: str) -> str:
    """The anchor that GitHub gives a heading."""
    return re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-")


class _Sections(HTMLParser):
    """Collects (anchor, heading, words) of each heading of a page."""

    def __init__(self) -> None:
        super().__init__()
        self.found: list[list[str]] = []
        self.heading, self.unread = "", 0

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.unread += tag in UNREAD
        if tag in HEADINGS and not self.unread:
            self.heading = tag
            self.found.append([dict(attrs).get("id") or "", "", ""])

    def handle_endtag(self, tag: str) -> None:
        self.unread -= tag in UNREAD
        self.heading = "" if tag == self.heading else self.heading
        self.handle_data(" ")  # words of neighbouring cells do not run together

    def handle_data(self, data: str) -> None:
        if self.found and not self.unread:
            self.found[-1][1 if self.heading else 2] += data


def sections(html: str) -> list[tuple[str, str, str]]:
    """(anchor, heading, words) of each heading of a page, and of each term of a glossary."""
    reader = _Sections()
    reader.feed(html)
    clean = (tuple(" ".join(text.split()) for text in section) for section in reader.found)
    return [(place, heading, words) for place, heading, words in clean if heading]
