"""Where everything comes from: a banner, a line under every page, and the whole on one page."""

from __future__ import annotations

from atlas_db.records import AtlasInfo
from atlas_site.addresses import ABOUT_PAGE
from atlas_site.text import count, prose, web_address


def banner(info: AtlasInfo, base: str = "") -> str:
    """Say on every page that random weights mean nothing, and what the captioner says of itself."""
    notice = str(info.captioner.get("notice") or "")
    if not info.is_random and not notice:
        return ""
    text = prose(notice)
    if info.is_random:
        text = (
            "<strong>Random weights: nothing here means anything.</strong> The captioner of this "
            f"atlas was never trained. It shows that the line works, and what no effect looks "
            f"like. {text}"
        )
    return (
        f'<aside class="na-banner" aria-label="Warning">{text.strip()} '
        f'<a href="{base}{ABOUT_PAGE}">About this atlas</a></aside>'
    )


def provenance_line(info: AtlasInfo) -> str:
    """Say under every page where its numbers come from."""
    facts = [
        f"Atlas <b>{prose(info.name)}</b>",
        f"captioner {prose(str(info.captioner.get('name', '–')))}",
        f"data set {prose(_dataset(info))}",
        f"<code>{prose(info.formula)}</code>",
        f"made {prose(info.created[:10])}",
        f'content <a href="{ABOUT_PAGE}"><code>{prose(info.content_hash[:12])}</code></a>',
    ]
    return " · ".join(facts)


def _dataset(info: AtlasInfo) -> str:
    return " ".join(str(info.dataset.get(key, "")) for key in ("name", "split")).strip()


def provenance_table(info: AtlasInfo) -> str:
    """Show all that is known of how the atlas was made."""
    parts = "".join(
        f"<tr><th>{title}</th><td>{_part(info.captioner.get(key))}</td></tr>"
        for key, title in (
            ("language_model", "Language model"),
            ("encoder", "Encoder"),
            ("adapter", "Adapter"),
        )
    )
    rows = [
        ("Atlas", prose(info.name)),
        ("Content hash", f"<code>{prose(info.content_hash)}</code>"),
        ("Made", prose(_when(info.created))),
        ("Command", f"<code>{prose(info.command)}</code>"),
        ("Captioner", prose(str(info.captioner.get("name", "–")))),
        ("Random weights", "yes" if info.is_random else "no"),
        ("Prompt", f"<code>{prose(str(info.captioner.get('prompt', '–')))}</code>"),
        ("Data set", f"{prose(_dataset(info))}, {count(info.n_images)} images read, "
         f"{count(info.n_skipped_images)} skipped"),
        ("Formula", f"<code>{prose(info.formula)}</code>"),
        ("Schema", str(info.schema_version)),
    ]  # fmt: skip
    facts = "".join(f"<tr><th>{name}</th><td>{value}</td></tr>" for name, value in rows)
    settings = "".join(
        f"<tr><th>{prose(str(key))}</th><td>{prose(str(value))}</td></tr>"
        for group in (info.settings, info.versions)
        for key, value in sorted(group.items())
    )
    return (
        f'<div class="na-scroll"><table class="na-facts-table">{facts}{parts}</table></div>'
        "<h2>Settings and versions</h2>"
        f'<div class="na-scroll"><table class="na-facts-table">{settings}</table></div>'
    )


def _when(created: str) -> str:
    """Write a moment of UTC as `2026-01-02 03:04 UTC`; anything else as it stands."""
    day, _, time = created.partition("T")
    return f"{day} {time[:5]} UTC" if time.endswith(("+00:00", "Z")) else created


def _part(part: object) -> str:
    if not isinstance(part, dict):
        return prose(str(part or "–"))
    facts = []
    for key, value in part.items():
        if value is None or value == "":
            continue
        address = web_address(str(value))
        shown = (
            f'<a href="{address}" rel="noopener">{address}</a>' if address else prose(str(value))
        )
        facts.append(f"<div>{prose(str(key))}: {shown}</div>")
    return "".join(facts)
