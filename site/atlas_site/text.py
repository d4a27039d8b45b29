"""Text of strangers made safe and visible, and numbers as a reader wants them.

Tokens, captions, file names and addresses come from models and data sets. Whatever they hold is
shown and never run: markup is escaped, and characters that hide, break lines or turn the writing
direction are replaced by their names.
"""

from __future__ import annotations

import math
import re
from html import escape
from urllib.parse import urlsplit

from atlas_site.kept import N_TEXTS, kept

_MARKS = {" ": "␣", "\n": "↵", "\r": "␍", "\t": "⇥"}

# Controls, soft hyphen, unusual spaces, zero-width and direction marks, lone surrogates, private
# use and non-characters.
_HIDDEN = (
    "\x00-\x1f\x7f-\xa0\xad\u034f\u061c\u115f\u1160\u17b4\u17b5\u180b-\u180e\u2000-\u200f"
    "\u2028-\u202f\u205f-\u206f\u3000\u3164\ufe00-\ufe0f\ufeff\uffa0\ufff0-\ufffb\ufffe\uffff"
    "\ud800-\udfff\ue000-\uf8ff\U000e0000-\U0010ffff"
)
_ODD = re.compile(rf"[ {_HIDDEN}]|\\x[0-9A-Fa-f]{{2}}")
_ODD_IN_PROSE = re.compile(rf"[{_HIDDEN}]")
_CODE = re.compile(r"`([^`]+)`")


def _visible(match: re.Match[str]) -> str:
    found = match.group()
    if found in _MARKS:
        return _MARKS[found]
    return found if found.startswith("\\x") else f"U+{ord(found):04X}"


def _visible_html(match: re.Match[str]) -> str:
    shown = _visible(match)
    return f"<i>{shown}</i>" if match.group() in _MARKS else f'<i class="o">{shown}</i>'


def spell(token: str) -> str:
    """Write a token out in plain text: spaces as ␣, hidden characters by their code."""
    return token if _is_plain(token) else _ODD.sub(_visible, token)


def _is_plain(word: str) -> bool:
    """Tell, for most words, that there is nothing in it to be escaped or made visible."""
    return word.isascii() and word.isalnum()


@kept(N_TEXTS)
def token_html(token: str) -> str:
    """Write a token out as HTML, what was made visible set apart in `<i>`."""
    word = token.removeprefix(" ")
    if _is_plain(word):
        return word if len(word) == len(token) else f"<i>{_MARKS[' ']}</i>{word}"
    if not token:
        return '<i class="o">empty</i>'
    # Escaping first is safe: it adds no character that _ODD would match.
    return _ODD.sub(_visible_html, escape(token))


@kept(N_TEXTS)
def prose(text: str) -> str:
    """Escape a caption or name for HTML text and attributes; line breaks become spaces."""
    text = text.replace("\r\n", " ").replace("\n", " ").replace("\t", " ")
    return escape(_ODD_IN_PROSE.sub(_visible, text))


def with_code(text: str) -> str:
    """Escape a sentence, and set what stands between backticks as code."""
    return _CODE.sub(r"<code>\1</code>", prose(text))


def web_address(address: str) -> str | None:
    """Give back an http(s) address, escaped for an attribute; None for anything else."""
    try:
        parts = urlsplit(address.strip())
    except ValueError:
        return None
    if parts.scheme not in ("http", "https") or not parts.netloc:
        return None
    return prose(address.strip())


#: Formats by their number of significant digits.
_SIGNIFICANT = [f"%#.{digits}g" for digits in range(8)]


def number(value: float | None, digits: int = 3) -> str:
    """Print a number with so many significant digits, a real minus sign, no exponent for most."""
    if value is None:
        return "–"
    if 1e-3 <= value < 1000 or -1000 < value <= -1e-3:  # nearly always: the fast way
        shown = _SIGNIFICANT[digits] % value
        if "e" not in shown:
            shown = shown[:-1] if shown[-1] == "." else shown
            return shown if value > 0 else f"−{shown[1:]}"
    if not math.isfinite(value):
        return "–"
    if value == 0:
        return "0"
    if not 1e-4 <= abs(value) < 1e6:
        shown = f"{value:.{digits - 1}e}"
    else:
        # 0.99999 becomes 1 before its places are counted.
        rounded = float(f"{abs(value):.{digits - 1}e}")
        places = max(0, digits - 1 - math.floor(math.log10(rounded)))
        shown = f"{value:,.{places}f}"
    return shown.replace("-", "−")


def percent(share: float, digits: int = 2) -> str:
    """Print a share in 0..1 as a percentage; what is not 0 never reads 0."""
    if share <= 0:
        return "0 %"
    if share < 1e-4:
        return "< 0.01 %"
    if share > 0.995:
        return "100 %" if share >= 1 else "> 99 %"
    return f"{number(100 * share, digits)} %"


def count(value: int) -> str:
    """Print a whole number with separators."""
    return f"{value:,}"


def file_size(n_bytes: int) -> str:
    """Print a number of bytes: `34.1 MB`."""
    for unit, size in (("GB", 1e9), ("MB", 1e6), ("kB", 1e3)):
        if n_bytes >= size:
            return f"{number(n_bytes / size)} {unit}"
    return f"{n_bytes} B"


def counted(value: int, noun: str) -> str:
    """Print a whole number with its noun: `1 unit`, `2 units`."""
    return f"{value:,} {noun}" if value == 1 else f"{value:,} {noun}s"
