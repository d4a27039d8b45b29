"""One rendered page serves as the frame of pages at any depth."""

import base64
import hashlib
import re

import pytest
from atlas_site.shell import FilledPage, Shell, minify, rebase

RENDERED = """<html><head>
  <meta charset="utf-8">
  <meta name="description" content="atlas-description">
  <!--atlas:head-->
  <title>atlas-title - Site</title>
  <link rel="stylesheet" href="assets/a.css">
  <script>__md_scope=new URL(".",location)
    </script>
</head><body>
  <a href="index.html">x</a> <a href="#top">y</a> <a href="https://a.example/z">z</a>
  <pre>
   kept
  </pre>
  atlas-content
  <script id="__config" type="application/json">{"base": ".", "search": "assets/search.js"}</script>
</body></html>"""


def _render(address: str, **options: str) -> str:
    page = FilledPage(address, "A & B", 'say "so"', "<p>here</p>", previous="u/0/1.html")
    return Shell(RENDERED, **options).render(page).decode("utf-8")


@pytest.mark.parametrize(
    ("address", "base"), [("a.html", ""), ("i/1.html", "../"), ("u/0/2.html", "../../")]
)
def test_relative_addresses_lead_to_the_root(address: str, base: str) -> None:
    html = _render(address)
    assert f'href="{base}assets/a.css"' in html
    assert f'href="{base}index.html"' in html
    assert 'href="#top"' in html
    assert 'href="https://a.example/z"' in html
    assert f'<link rel="prev" href="{base}u/0/1.html">' in html
    assert f'"search": "{base}assets/search.js"' in html
    assert f'"base": "{base.rstrip("/") or "."}"' in html
    assert f'new URL("{base or "."}",location)' in html


def test_marks_are_filled_and_escaped() -> None:
    html = _render("i/1.html")
    assert "<title>A &amp; B - Site</title>" in html
    assert 'content="say &quot;so&quot;"' in html
    assert "<p>here</p>" in html
    assert "atlas-" not in html


def test_canonical_address_needs_the_sites_address() -> None:
    assert "canonical" not in _render("i/1.html")
    html = _render("i/1.html", site_url="https://host.example/atlas/")
    assert '<link rel="canonical" href="https://host.example/atlas/i/1.html">' in html


def test_policy_names_every_inline_script_by_its_hash() -> None:
    html = _render("u/0/1.html")
    code = re.search(r"<script>(.*?)</script>", html, re.DOTALL)
    assert code is not None
    digest = base64.b64encode(hashlib.sha256(code[1].encode()).digest()).decode()
    policy = re.search(r'Content-Security-Policy" content="([^"]*)"', html)
    assert policy is not None
    assert re.findall(r"'sha256-([^']*)'", policy[1]) == [digest]
    assert "default-src 'none'" in policy[1]
    assert html.index("Content-Security-Policy") < html.index("<script")


def test_minify_leaves_preformatted_text_alone() -> None:
    assert (
        minify("<p>\n   a\n</p><pre>\n   b\n</pre>\n\n  c") == "<p>\na\n</p><pre>\n   b\n</pre>\nc"
    )


def test_rebase_at_the_root_changes_nothing() -> None:
    assert rebase(RENDERED, "") == RENDERED


@pytest.mark.parametrize("mark", ["atlas-title", "atlas-content", "<!--atlas:head-->"])
def test_a_lost_mark_is_named(mark: str) -> None:
    with pytest.raises(ValueError, match=re.escape(mark)):
        Shell(RENDERED.replace(mark, ""))
