"""Reads an HTML page as a browser would, for the tests of all pages."""

from html.parser import HTMLParser

VOID_TAGS = {"meta", "br", "path", "use", "rect"}
LOADING_TAGS = {"script", "link", "img", "iframe", "object", "embed", "video", "audio", "source", "base", "form"}


class Page(HTMLParser):
    """A parsed page: its tags with their attributes, the tags that are not closed, and the visible text."""

    def __init__(self, html: str) -> None:
        super().__init__()
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.open_tags: list[str] = []
        self.text = ""
        self.feed(html)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))
        if tag not in VOID_TAGS:
            self.open_tags.append(tag)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))

    def handle_endtag(self, tag: str) -> None:
        if tag not in VOID_TAGS:
            assert self.open_tags.pop() == tag
        self.text += " " if tag in ("td", "th", "dt", "code") else ""

    def handle_data(self, data: str) -> None:
        if "style" not in self.open_tags:
            self.text += data

    def names(self) -> set[str]:
        return {tag for tag, _ in self.tags}

    def links(self) -> list[str | None]:
        named = [(name, value) for _, attributes in self.tags for name, value in attributes.items()]
        return [value for name, value in named if name in ("src", "srcset", "data", "action") or "href" in name]


def assert_loads_nothing(html: str) -> None:
    """Assert that the page links to itself alone, and that a browser would fetch and run nothing."""
    assert "url(" not in html.replace("url(#", "")
    assert "@import" not in html
    page = Page(html)
    assert page.names().isdisjoint(LOADING_TAGS)
    assert all(link and link.startswith("#") for link in page.links())
    assert not any(name.startswith("on") for _, attributes in page.tags for name in attributes)
