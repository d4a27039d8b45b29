"""What experiments measured of one unit, and of one image, for their pages."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from atlas_db.experiment_records import AblationRecord, TextExemplarRecord, UnitFigures
from atlas_db.records import TargetRecord
from atlas_site.addresses import REPORT_PAGE
from atlas_site.experiment_charts import Point, curves_svg
from atlas_site.text import counted, number, percent, prose, token_html

#: Passages of text on a unit's page, and tokens shown on each side of the most active one.
N_TEXTS = 3
_N_AROUND = 20
#: The order of the report's curve, so that an arm has the same colour there.
_ARMS = ("all", "interpretable", "without always-on", "random", "other image")


def measured(base: str, figures: UnitFigures | None, texts: Sequence[TextExemplarRecord]) -> str:
    """Show a unit's own figures, each beside its control; empty where no experiment looked."""
    shown = "" if figures is None else "".join(_figures(base, figures))
    texts = [one for one in texts if one.activation != 0]
    if not shown and not texts:
        return ""
    facts = f'<dl class="na-figures na-measured">{shown}</dl>' if shown else ""
    return f'<section class="na-next"><h2>Measured</h2>{facts}{_texts(texts)}</section>'


def _figures(base: str, one: UnitFigures) -> list[str]:
    report, rows = f"{base}{REPORT_PAGE}", []
    if one.iou is not None:
        rows.append(
            _row(
                f"{report}#specificity",
                "IoU with the object",
                number(one.iou),
                f"random units of its layer {number(one.random_iou)}, greatest possible "
                f"{number(one.iou_bound)}; over {counted(one.n_mask_images or 0, 'image')}",
            )
        )
    if one.entropy is not None:
        p = "" if one.entropy_p is None else f"p = {number(one.entropy_p, 2)}; "
        rows.append(
            _row(
                f"{report}#selectivity",
                "Entropy over categories",
                f"{number(one.entropy)} nats",
                f"{p}0: one category alone; categories that it stands for: {one.n_categories}",
            )
        )
    if one.logit_drop is not None:
        rows.append(
            _row(
                f"{report}#single_units",
                "Zeroed alone",
                f"{number(one.logit_drop)} logits",
                f"that targets lose, {_share(one.relative_drop)} of p(target); a random unit of "
                f"its layer {number(one.random_logit_drop)}, {_share(one.random_relative_drop)}; "
                f"over {counted(one.n_zeroed_images or 0, 'image')}",
            )
        )
    if one.agreement is not None:
        rows.append(
            _row(
                f"{report}#agreement",
                "Its tokens in captions",
                _share(one.agreement),
                "of its decoded words are in what people said of the images it is found on; of "
                f"other images {_share(one.random_agreement)}; over "
                f"{counted(one.n_agreement_images or 0, 'image')}",
            )
        )
    if one.auc is not None:
        p = "" if one.auc_p is None else f"; p = {number(one.auc_p, 2)}"
        rows.append(
            _row(
                f"{report}#text",
                "Its words in text",
                number(one.auc),
                "area under the curve: captions that name its category told from others; "
                f"0.5 by chance{p}",
            )
        )
    return rows


def _row(address: str, name: str, value: str, explained: str) -> str:
    """Show a figure, its name a link to where the report explains it."""
    return (
        f'<div><dt><a class="na-why" href="{address}">{name}</a></dt>'
        f"<dd><b>{value}</b><small>{explained}</small></dd></div>"
    )


def _share(value: float | None) -> str:
    return "–" if value is None else f"{number(100 * value, 2)} %"


def _texts(texts: Sequence[TextExemplarRecord]) -> str:
    if not texts:
        return ""
    items = "".join(
        f"<li><b>{number(one.activation)}</b> {_passage(one)}"
        f" <small>{prose(one.source)}</small></li>"
        for one in texts
    )
    return (
        f'<h3>Text that it is most active on</h3><ol class="na-texts">{items}</ol>'
        '<p class="na-hint">The language model reads these without a picture. The darker the '
        "shade, the greater the activation at the token; the number is the greatest.</p>"
    )


def _passage(one: TextExemplarRecord) -> str:
    """Show a passage around its most active token, each token shaded by its activation."""
    first = max(0, one.position - _N_AROUND)
    stop = min(len(one.tokens), one.position + _N_AROUND + 1)
    top = max(one.activations[first:stop], default=0.0)
    shown = "…" if first else ""
    for token, activation in zip(one.tokens[first:stop], one.activations[first:stop], strict=True):
        space, word = (" ", token[1:]) if token.startswith(" ") and token != " " else ("", token)
        share = activation / top if top > 0 else 0.0
        if share < 0.05:  # would not be seen
            shown += space + token_html(word)
        else:
            shown += f'{space}<mark style="--a:{share:.2f}">{token_html(word)}</mark>'
    return f"<bdi>{shown}{'…' if stop < len(one.tokens) else ''}</bdi>"


def ablation_curves(
    base: str, rows: Sequence[AblationRecord], targets: Sequence[TargetRecord]
) -> str:
    """Draw each target's probability with ever more units zeroed; empty where not measured."""
    words = {target.target: target for target in targets}
    charts = ""
    for target in sorted({row.target for row in rows}):
        known = words.get(target)
        word = known.word if known is not None else f"target {target}"
        lines = _curves([row for row in rows if row.target == target])
        svg = curves_svg(lines, label=f"Probability of {word}", along="units zeroed")
        said = _captions([row for row in rows if row.target == target])
        charts += f"<div><h3>{prose(word)}</h3>{svg}{said}{_kept(lines)}</div>" if svg else ""
    if not charts:
        return ""
    return (
        f'<section class="na-next"><h2>Without its units</h2><div class="na-columns">{charts}'
        '</div><p class="na-hint">The probability of the target word when the units that add most '
        "to it are set to 0 at the picture's patches, beside as many random units of the same "
        f'layers and the units of another image. <a href="{base}{REPORT_PAGE}#ablation">Over all '
        "images</a>.</p></section>"
    )


def _curves(rows: Sequence[AblationRecord]) -> dict[str, dict[int, Point]]:
    """Give each arm its curve of p(target), mean over draws, from the untouched model on."""
    values: dict[str, dict[int, list[float]]] = {}
    untouched = [row.prob for row in rows if row.k == 0]
    for row in rows:
        if row.k > 0:
            values.setdefault(row.arm, {}).setdefault(row.k, []).append(row.prob)
    start = {0: untouched} if untouched else {}
    arms = sorted(values, key=lambda arm: (_ARMS.index(arm) if arm in _ARMS else len(_ARMS), arm))
    return {
        arm: {k: Point(sum(probs) / len(probs)) for k, probs in {**start, **values[arm]}.items()}
        for arm in arms
    }


def _captions(rows: Sequence[AblationRecord]) -> str:
    """List the captions with ever more of the top units zeroed, each where it changes."""
    told = [row for row in rows if row.caption is not None and row.arm in ("none", "all")]
    changes: list[AblationRecord] = []
    for row in sorted(told, key=lambda row: row.k):
        if not changes or row.caption != changes[-1].caption:
            changes.append(row)
    if not changes:
        return ""
    if len(changes) == 1:
        return f"<p>The caption stays “{prose(changes[0].caption or '')}”.</p>"
    names = [f"{row.k:,} zeroed" if row.k else "untouched" for row in changes]
    items = "".join(
        f"<li><b>{name}</b>: {prose(row.caption or '')}</li>"
        for name, row in zip(names, changes, strict=True)
    )
    return f'<ul class="na-ablated" aria-label="Captions, where they change">{items}</ul>'


def _kept(lines: Mapping[str, Mapping[int, Point]]) -> str:
    """Set the curves' numbers in a table, folded."""
    steps = sorted({step for line in lines.values() for step in line})
    head = "".join(f"<th>{prose(arm)}</th>" for arm in lines)
    rows = "".join(
        f"<tr><td>{step:,}</td>"
        + "".join(f"<td>{_prob(line.get(step))}</td>" for line in lines.values())
        + "</tr>"
        for step in steps
    )
    return (
        '<details class="na-more"><summary>Numbers</summary><div class="na-scroll"><table>'
        f"<thead><tr><th>k</th>{head}</tr></thead><tbody>{rows}</tbody></table></div></details>"
    )


def _prob(point: Point | None) -> str:
    return "–" if point is None else percent(point.value)
