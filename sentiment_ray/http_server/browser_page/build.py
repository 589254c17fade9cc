"""Makes a page of one HTML file, which asks no other site for anything."""

import base64
import hashlib
from functools import cache
from pathlib import Path

SHARED = Path(__file__).parent


@cache
def build_page(directory: Path) -> tuple[bytes, dict[str, str]]:
    """Return the page of a directory with index.html and script.js, and the headers that it is sent with.

    The Content-Security-Policy allows the page's own style and script and nothing else. A text that a user writes can
    so become no script, and the page can send nothing to another site.
    """
    page = (directory / "index.html").read_text(encoding="utf-8")
    style = (SHARED / "style.css").read_text(encoding="utf-8")
    script = "".join(path.read_text(encoding="utf-8") for path in (SHARED / "shared.js", directory / "script.js"))
    hashes = {}
    for kind, content in (("style", style), ("script", script)):
        page = page.replace(f"/*{kind}*/", content)
        hashes[kind] = base64.b64encode(hashlib.sha256(content.encode()).digest()).decode()
    policy = (
        f"default-src 'none'; style-src 'sha256-{hashes['style']}'; script-src 'sha256-{hashes['script']}'; "
        "img-src data:; connect-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
    )
    headers = {
        "content-type": "text/html; charset=utf-8",
        "content-security-policy": policy,
        "cache-control": "no-cache",
        "referrer-policy": "no-referrer",
        "x-content-type-options": "nosniff",
        "vary": "accept",
    }
    return page.encode(), headers
