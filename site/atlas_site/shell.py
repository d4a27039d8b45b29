"""The page that MkDocs renders once, taken apart so that any number of pages can be filled from it.

MkDocs with Material renders `shell.md` at the site's root with marks in the place of the title,
the description and the content. `Shell` moves its relative addresses down to the depth of a page,
forbids by a Content-Security-Policy that anything is fetched from another host, and joins the
pieces around each page's content.
"""

from __future__ import annotations

import base64
import hashlib
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from html import escape

from atlas_site.addresses import SHELL_PAGE, base_of

TITLE = "atlas-title"
DESCRIPTION = "atlas-description"
CONTENT = "atlas-content"
HEAD = "<!--atlas:head-->"

_RELATIVE = re.compile(
    r'\b(href|src)="(?![a-z][a-z0-9+.-]*:|[/#"?])(?:\./)?([^"]*)"', re.IGNORECASE
)
_INLINE_SCRIPT = re.compile(r"<script(?![^>]*\b(?:src|type)=)[^>]*>(.*?)</script>", re.DOTALL)
_PRESERVED = re.compile(r"(<(script|style|pre|textarea)\b.*?</\2>)", re.DOTALL)


@dataclass(frozen=True, slots=True)
class FilledPage:
    """What one page says; the shell gives it its frame."""

    address: str
    title: str
    description: str
    content: str
    previous: str | None = None  # addresses from the root, for the keys `p` and `n`
    next: str | None = None


def minify(html: str) -> str:
    """Drop the white space between lines outside of scripts, styles and preformatted text."""
    pieces = _PRESERVED.split(html)
    # split() gives text, the preserved piece, its tag name, text, ...
    for index in range(0, len(pieces), 3):
        pieces[index] = re.sub(r"\s*\n\s*", "\n", pieces[index])
    return "".join(piece for index, piece in enumerate(pieces) if index % 3 != 2)


def security_policy(html: str) -> str:
    """Name all that a page may load: what this site serves, and its own inline scripts by hash."""
    hashes = sorted(
        {
            "'sha256-" + base64.b64encode(hashlib.sha256(code.encode()).digest()).decode() + "'"
            for code in _INLINE_SCRIPT.findall(html)
        }
    )
    # A worker made of a blob is held to its page's policy, one of a file is not: so the page for
    # SQL makes its worker of a blob, which then may compile the engine and still fetch nothing.
    runs_sql = " data-ask " in html
    hashes += ["'wasm-unsafe-eval'"] * runs_sql
    policy = (
        f"default-src 'none'; script-src 'self' {' '.join(hashes)}; "
        "style-src 'self' 'unsafe-inline'; img-src 'self' data:; font-src 'self'; "
        f"connect-src 'self'; worker-src 'self'{' blob:' * runs_sql}; manifest-src 'self'; "
        "base-uri 'none'; form-action 'self'"
    )
    return f'<meta http-equiv="Content-Security-Policy" content="{policy}">'


def add_policy(html: str) -> str:
    """Put the policy before anything that it governs."""
    return html.replace(
        '<meta charset="utf-8">', f'<meta charset="utf-8">{security_policy(html)}', 1
    )


def rebase(html: str, base: str) -> str:
    """Lead each relative address of a page at the root back there from `base` (`"../"`)."""
    html = _RELATIVE.sub(lambda match: f'{match[1]}="{base}{match[2]}"', html)
    if base:
        html = html.replace('__md_scope=new URL(".",', f'__md_scope=new URL("{base}",')
        html = html.replace('"base":"."', f'"base":"{base.rstrip("/")}"')
        html = html.replace('"base": "."', f'"base": "{base.rstrip("/")}"')
        html = re.sub(r'("search":\s*")(?!\.\./|/)', rf"\1{base}", html)
    return html


@dataclass(frozen=True, slots=True)
class Shell:
    """The frame of filled pages, prepared for each depth that it was asked for."""

    html: str  # rendered at the root, marks of the whole atlas (banner, provenance) filled in
    site_url: str = ""
    with_policy: bool = True
    _pieces: dict[str, tuple[bytes, ...]] = field(default_factory=dict, repr=False)

    def __post_init__(self) -> None:
        for mark in (TITLE, DESCRIPTION, CONTENT, HEAD):
            if mark not in self.html:
                raise ValueError(
                    f"{SHELL_PAGE} has lost its mark {mark!r}: keep it in shell.md or main.html"
                )

    def _at(self, base: str) -> tuple[bytes, ...]:
        """Give the pieces around title, description, head and content, and their marks between."""
        if base not in self._pieces:
            html = rebase(minify(self.html), base)
            if self.with_policy:
                html = add_policy(html)
            # Each mark once, in the order in which Material writes them.
            pattern = "|".join(re.escape(mark) for mark in (TITLE, DESCRIPTION, CONTENT, HEAD))
            pieces = re.split(f"({pattern})", html)
            self._pieces[base] = tuple(piece.encode("utf-8") for piece in pieces)
        return self._pieces[base]

    def render(self, page: FilledPage) -> bytes:
        """Fill the frame: UTF-8 bytes of a whole page."""
        base = base_of(page.address)
        filled: Mapping[bytes, str] = {
            TITLE.encode(): escape(page.title),
            DESCRIPTION.encode(): escape(page.description),
            CONTENT.encode(): page.content,
            HEAD.encode(): self._links(page, base),
        }
        pieces = list(self._at(base))
        for index in range(1, len(pieces), 2):
            pieces[index] = filled[pieces[index]].encode("utf-8")
        return b"".join(pieces)

    def _links(self, page: FilledPage, base: str) -> str:
        links = []
        if self.site_url:
            links.append(
                f'<link rel="canonical" href="{escape(self.site_url.rstrip("/"))}/{page.address}">'
            )
        if page.previous is not None:
            links.append(f'<link rel="prev" href="{base}{page.previous}">')
        if page.next is not None:
            links.append(f'<link rel="next" href="{base}{page.next}">')
        return "".join(links)
