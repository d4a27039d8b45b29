// The table of units: any order, any part, a page of rows at a time.

import { format, tokenElement } from "./explore_map.js";

const PAGE_ROWS = 25;
const SPACE = 2 ** 21; // uids below it; 32 bits of a float32 stand above them in a double

/**
 * Give the uids of `mask` ordered by float32 keys, ties by uid, NaN last.
 *
 * A float32's bits, turned so that they sort as numbers, and the uid make one double: the browser
 * sorts those without calling back, ten times faster than with a comparison.
 */
export function order(mask, keys, rising) {
  const bits = new Uint32Array(keys.buffer, keys.byteOffset, keys.length);
  const packed = new Float64Array(mask.reduce((n, one) => n + one, 0));
  let next = 0;
  for (let uid = 0; uid < mask.length; uid++) {
    if (!mask[uid]) continue;
    const raw = bits[uid];
    let key = raw & 0x80000000 ? ~raw >>> 0 : (raw | 0x80000000) >>> 0;
    if (!rising) key = ~key >>> 0;
    if (Number.isNaN(keys[uid])) key = 0xffffffff;
    packed[next++] = key * SPACE + uid;
  }
  return Int32Array.from(packed.sort(), (value) => value % SPACE);
}

export class UnitTable {
  constructor(place, columns, choose) {
    this.place = place;
    this.columns = columns;
    this.choose = choose;
  }

  async draw({ mask, n, keys, sort, flags, rising, page }) {
    const ordered = order(mask, keys, rising);
    const pages = Math.max(1, Math.ceil(n / PAGE_ROWS));
    const shown = Math.min(Math.max(page, 1), pages);
    const uids = [...ordered.subarray((shown - 1) * PAGE_ROWS, shown * PAGE_ROWS)];
    const mine = (this.latest = (this.latest ?? 0) + 1);
    const rows = await Promise.all(uids.map((uid) => this.row(uid, flags[uid])));
    if (mine !== this.latest) return;
    const table = document.createElement("table");
    table.className = "na-table";
    const body = document.createElement("tbody");
    body.append(...rows);
    table.append(this.head(sort, rising), body);
    const scroll = document.createElement("div");
    Object.assign(scroll, { className: "na-scroll", tabIndex: 0 });
    scroll.setAttribute("role", "region");
    scroll.setAttribute("aria-label", "Units");
    scroll.append(table);
    this.place.replaceChildren(scroll, this.pager(shown, pages));
    this.place.dataset.page = shown;
  }

  head(sort, rising) {
    const head = document.createElement("thead");
    const row = document.createElement("tr");
    row.append(heading("unit"), heading("promotes"));
    for (const { name, title, meaning } of this.columns.index.figures) {
      const cell = heading("");
      const button = document.createElement("button");
      Object.assign(button, { type: "button", title: `${meaning}. Sort by it.` });
      const chosen = name === sort;
      button.textContent = chosen ? `${title}\u00a0${rising ? "▴" : "▾"}` : title;
      if (chosen) cell.setAttribute("aria-sort", rising ? "ascending" : "descending");
      button.addEventListener("click", () => {
        this.choose({ sort: name, rising: chosen && !rising ? "1" : "", page: "" });
      });
      cell.append(button);
      row.append(cell);
    }
    row.append(heading("marks"));
    head.append(row);
    return head;
  }

  async row(uid, flags) {
    const [[tokens, ...figures], href] = await Promise.all([this.columns.row(uid), this.columns.href(uid)]);
    const row = document.createElement("tr");
    const name = document.createElement(href ? "a" : "span");
    name.textContent = this.columns.name(uid);
    name.className = "na-u";
    if (href) name.href = href;
    const words = document.createElement("td");
    for (const token of tokens) words.append(tokenElement(token), " ");
    row.append(cellOf(name), words, ...figures.map((value) => cellOf(format(value))), marks(flags));
    return row;
  }

  pager(shown, pages) {
    const nav = document.createElement("nav");
    nav.className = "na-pager";
    nav.setAttribute("aria-label", "Parts of the table");
    const step = (words, page) => {
      const button = document.createElement("button");
      Object.assign(button, { type: "button", className: "na-button", textContent: words });
      button.disabled = page < 1 || page > pages || page === shown;
      button.addEventListener("click", () => this.choose({ page: page === 1 ? "" : String(page) }));
      return button;
    };
    const said = document.createElement("span");
    said.textContent = `page ${shown.toLocaleString("en")} of ${pages.toLocaleString("en")}`;
    nav.append(step("first", 1), step("‹ before", shown - 1), said, step("after ›", shown + 1), step("last", pages));
    return nav;
  }
}

function heading(words) {
  const cell = document.createElement("th");
  cell.scope = "col";
  cell.textContent = words;
  return cell;
}

function cellOf(content) {
  const cell = document.createElement("td");
  cell.append(content);
  return cell;
}

function marks(flags) {
  const cell = document.createElement("td");
  for (const [bit, words, kind] of [[2, "always on", "na-bad"], [1, "interpretable", "na-good"]]) {
    if (!(flags & bit)) continue;
    const badge = document.createElement("span");
    badge.className = `na-badge ${kind}`;
    badge.textContent = words;
    cell.append(badge, " ");
  }
  return cell;
}
