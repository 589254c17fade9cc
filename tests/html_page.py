"""What a browser would see of a page, for the tests of every page."""

from html.parser import HTMLParser

VOID = {"meta", "br", "path", "use", "rect"}
LOADING = {"script", "link", "img", "iframe", "object", "embed", "video", "audio", "source", "base", "form"}


class Page(HTMLParser):
    """Tags with their attributes, whether they nest, and the visible text."""

    def __init__(self, html: str) -> None:
        super().__init__()
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.open: list[str] = []
        self.text = ""
        self.feed(html)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))
        if tag not in VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))

    def handle_endtag(self, tag: str) -> None:
        if tag not in VOID:
            assert self.open.pop() == tag
        self.text += " " if tag in ("td", "th", "dt", "code") else ""

    def handle_data(self, data: str) -> None:
        if "style" not in self.open:
            self.text += data

    def names(self) -> set[str]:
        return {tag for tag, _ in self.tags}

    def links(self) -> list[str | None]:
        named = [(name, value) for _, attributes in self.tags for name, value in attributes.items()]
        return [value for name, value in named if name in ("src", "srcset", "data", "action") or "href" in name]


def assert_loads_nothing(html: str) -> None:
    """The page links to places in itself alone and holds nothing that a browser would fetch or run."""
    assert "url(" not in html.replace("url(#", "")
    assert "@import" not in html
    page = Page(html)
    assert page.names().isdisjoint(LOADING)
    assert all(link and link.startswith("#") for link in page.links())
    assert not any(name.startswith("on") for _, attributes in page.tags for name in attributes)
