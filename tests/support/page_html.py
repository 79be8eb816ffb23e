"""HTML that closes what it opens."""

from __future__ import annotations

from html.parser import HTMLParser


class Balanced(HTMLParser):
    """Fails on a tag that closes another than the last opened."""

    VOID = frozenset({"meta", "link", "br", "img", "hr", "input"})

    def __init__(self) -> None:
        super().__init__()
        self.open: list[str] = []

    def handle_starttag(self, tag, attrs):
        if tag not in self.VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag, attrs):
        pass

    def handle_endtag(self, tag):
        assert self.open.pop() == tag
