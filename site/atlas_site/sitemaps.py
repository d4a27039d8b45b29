"""Sitemaps for search engines: one a folder, in parts of what the protocol allows, and an index.

Material reads `sitemap.xml` itself, so that file keeps the hand-written pages alone.
"""

from __future__ import annotations

from html import escape

from atlas_site.publish import Writer

#: https://www.sitemaps.org/protocol.html
MAX_ADDRESSES = 50_000

_SPACE = 'xmlns="http://www.sitemaps.org/schemas/sitemap/0.9"'
_HEAD = '<?xml version="1.0" encoding="UTF-8"?>\n'


def write_sitemaps(writer: Writer, site_url: str) -> None:
    """Write sitemaps of all pages that were written; without an address of the site, none."""
    if not site_url:
        return
    base = site_url.rstrip("/")
    names = ["sitemap.xml"]
    for folder in sorted(writer.kept):
        pages = sorted({name for name in writer.kept[folder] if name.endswith(".html")})
        if not folder or not pages:
            continue
        for part, start in enumerate(range(0, len(pages), MAX_ADDRESSES)):
            name = f"sitemaps/{folder.replace('/', '-')}-{part}.xml"
            addresses = [f"{base}/{folder}/{page}" for page in pages[start : start + MAX_ADDRESSES]]
            writer.write(name, _file("urlset", "url", addresses))
            names.append(name)
    writer.write(
        "sitemap-index.xml", _file("sitemapindex", "sitemap", [f"{base}/{n}" for n in names])
    )
    writer.write(
        "robots.txt", f"User-agent: *\nAllow: /\nSitemap: {base}/sitemap-index.xml\n".encode()
    )


def _file(root: str, item: str, addresses: list[str]) -> bytes:
    rows = "\n".join(f"<{item}><loc>{escape(address)}</loc></{item}>" for address in addresses)
    return f"{_HEAD}<{root} {_SPACE}>\n{rows}\n</{root}>\n".encode()
