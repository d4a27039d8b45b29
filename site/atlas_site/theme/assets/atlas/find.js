// Look concepts, units and images up in the static index that atlas_site/find_index.py writes.

const HIDDEN = /[\u0000-\u001f\u007f-\u009f\u00ad\u200b-\u200f\u2028-\u202e\u2060-\u206f\ufeff]/g;
const LAST = "\u{10ffff}";

/** Compare by code points, as Python sorts; `<` compares UTF-16 units. */
function compare(left, right) {
  const a = [...left];
  const b = [...right];
  for (let i = 0; i < a.length && i < b.length; i++) {
    if (a[i] !== b[i]) return a[i].codePointAt(0) - b[i].codePointAt(0);
  }
  return a.length - b.length;
}

/** Fold what was typed as nearly as a browser can the way atlas_db.concepts.fold does. */
export function fold(typed) {
  const folded = typed.normalize("NFKC").toLowerCase().replaceAll("ß", "ss").replaceAll("ς", "σ");
  return folded.normalize("NFKC").split(/\s+/).join(" ").trim();
}

/** Name characters that would hide or turn the line. */
export function visible(text) {
  return text.replace(HIDDEN, (c) => `U+${c.codePointAt(0).toString(16).toUpperCase().padStart(4, "0")}`);
}

/** Count the edits between two words; anything beyond `most` is `most + 1`. */
function edits(a, b, most) {
  if (Math.abs(a.length - b.length) > most) return most + 1;
  let before = null;
  let row = Array.from({ length: b.length + 1 }, (_, i) => i);
  for (let i = 1; i <= a.length; i++) {
    const next = [i];
    for (let j = 1; j <= b.length; j++) {
      const cost = a[i - 1] === b[j - 1] ? 0 : 1;
      next[j] = Math.min(row[j] + 1, next[j - 1] + 1, row[j - 1] + cost);
      const swapped = before && a[i - 1] === b[j - 2] && a[i - 2] === b[j - 1];
      if (swapped) next[j] = Math.min(next[j], before[j - 2] + 1);
    }
    [before, row] = [row, next];
  }
  return row[b.length];
}

export class Finder {
  constructor(root) {
    this.root = root;
    this.files = new Map();
  }

  /** Fetch a file once and read it with `how`; what failed is asked for again. */
  once(address, how) {
    if (!this.files.has(address)) {
      const answer = fetch(new URL(address, this.root)).then((response) => {
        if (!response.ok) throw new Error(`${address}: ${response.status}`);
        return response[how]();
      });
      answer.catch(() => this.files.delete(address));
      this.files.set(address, answer);
    }
    return this.files.get(address);
  }

  json(address) {
    return this.once(address, "json");
  }

  bytes(address) {
    return this.once(address, "arrayBuffer");
  }

  /** Fetch a file of the search index. */
  fetch(name) {
    return this.json(`find/${name}.json`);
  }

  index() {
    return this.fetch("index");
  }

  href(address) {
    return new URL(address, this.root).href;
  }

  /** Lead to a unit's page, its own or one that it shares; null where it has none. */
  async unitHref(layer, unit) {
    const { units_per_layer, group, is_partial } = await this.index();
    const own = this.href(`u/${layer}/${unit}.html`);
    if (!is_partial) return own;
    const kind = new Uint8Array(await this.bytes("explore/flags.u8"))[layer * units_per_layer + unit];
    if (kind & 4) return own;
    return kind & 8 ? this.href(`u/${layer}/g${Math.floor(unit / group)}.html#U${unit}`) : null;
  }

  /** List the uids that promote a folded word, rising; null for a word that none promotes. */
  async unitsOf(word) {
    const [shard, last] = await this.range("concepts", word);
    if (last < 0) return null;
    const all = await this.fetch(`units${shard}`);
    if (!Object.hasOwn(all, word)) return null;
    let uid = 0;
    return Int32Array.from(all[word], (step) => (uid += step));
  }

  /** Say which shards of `kind` can hold words that begin with `prefix`: [first, last]. */
  async range(kind, prefix) {
    const firsts = (await this.index())[kind];
    const last = (word) => {
      let low = 0;
      let high = firsts.length;
      while (low < high) {
        const middle = (low + high) >> 1;
        if (compare(firsts[middle], word) <= 0) low = middle + 1;
        else high = middle;
      }
      return low - 1;
    };
    return [Math.max(0, last(prefix)), last(prefix + LAST)];
  }

  /** Give the best concepts of a prefix that many shards hold, or null. */
  async heads(prefix) {
    const { heads } = await this.index();
    return Object.hasOwn(heads, prefix) ? heads[prefix] : null;
  }

  /** Give the entries of `kind` that begin with `prefix`, from `most` shards at most. */
  async entries(kind, prefix, most = 3) {
    const [first, last] = await this.range(kind, prefix);
    const stop = Math.min(last, first + most - 1);
    const wanted = [];
    for (let i = first; i <= stop; i++) wanted.push(this.fetch(`${kind}${i}`));
    const found = (await Promise.all(wanted)).flat().filter((entry) => entry[0].startsWith(prefix));
    if (stop === last || kind !== "concepts") return found;
    const heads = (await this.heads(prefix)) ?? [];
    const seen = new Set(heads.map((entry) => entry[0]));
    return [...heads, ...found.filter((entry) => !seen.has(entry[0]))];
  }

  concept(entry, note = "") {
    const [concept, units, slug] = entry;
    const counted = units === 1 ? "1 unit" : `${units.toLocaleString("en")} units`;
    return { kind: "concept", text: visible(concept), note: note || counted, href: this.href(`c/${slug || concept}.html`) };
  }

  /**
   * Answer what was typed: { rows, words, later }, `words` being a sentence where nothing fits,
   * `later`, where there is one, a promise of further rows.
   */
  async find(typed, limit = 8) {
    const query = typed.trim();
    if (!query) return { rows: [], words: "" };
    const unit = await this.unit(query);
    if (unit) return unit;
    const image = /^(?:image\s*)?(\d+)$/i.exec(query);
    if (image) {
      const rows = (await this.entries("images", image[1])).slice(0, limit).map(([id, caption]) => ({
        kind: "image", text: `Image ${id}`, note: visible(caption), href: this.href(`i/${id}.html`),
      }));
      if (rows.length) return { rows, words: "" };
    }
    return this.concepts(fold(query), limit);
  }

  /** Answer `L12.U9058`, `12.9058` or `L12`. */
  async unit(query) {
    const match = /^l\s*(\d+)(?:[\s.,:/]*u\s*(\d*)|[.,:/]\s*(\d*))?$|^(\d+)\s*[.,:/]\s*u?(\d+)$/i.exec(query);
    if (!match) return null;
    const { n_layers, units_per_layer, layers } = await this.index();
    const layer = Number(match[1] ?? match[4]);
    const number = match[2] || match[3] || match[5];
    if (layer >= n_layers) {
      return { rows: [], words: `This atlas has layers 0 to ${n_layers - 1}.` };
    }
    if (layers && !layers.includes(layer)) {
      return { rows: [], words: `Layer ${layer} is not in this part of the atlas.` };
    }
    if (!number) {
      const href = this.href(`l/${layer}.html`);
      return { rows: [{ kind: "layer", text: `Layer ${layer}`, note: "", href }], words: "" };
    }
    if (Number(number) >= units_per_layer) {
      return { rows: [], words: `A layer of this atlas has units 0 to ${units_per_layer - 1}.` };
    }
    const unit = Number(number);
    const href = await this.unitHref(layer, unit);
    if (!href) return { rows: [], words: `L${layer}.U${unit} has no page in this part of the atlas.` };
    return { rows: [{ kind: "unit", text: `L${layer}.U${unit}`, note: "unit", href }], words: "" };
  }

  async concepts(word, limit) {
    // A short prefix is answered by the index, which is at hand: no shard is waited for.
    const found = (await this.heads(word)) ?? (await this.entries("concepts", word));
    if (found.length) {
      const best = (a, b) => (b[0] === word) - (a[0] === word) || b[1] - a[1] || compare(a[0], b[0]);
      const first = [...found].sort(best).slice(0, limit);
      return { rows: [...first.map((entry) => this.concept(entry)), this.narrow(first[0][0])], words: "" };
    }
    const none = `No unit promotes “${visible(word)}”.`;
    const family = await this.family(word);
    if (family.length) {
      const kin = family.slice(0, limit >> 1).map((entry) => this.concept(entry));
      // What is related comes after: the family is at hand.
      const later = this.related(kin[0]).then((rows) => rows.slice(0, limit - kin.length));
      return { rows: kin, words: `${none} Of the same stem:`, later };
    }
    const near = await this.near(word);
    if (near.length) return { rows: near.slice(0, limit).map((entry) => this.concept(entry)), words: `${none} Did you mean:` };
    const all = { kind: "all", text: "All concepts", note: "", href: this.href("concepts.html") };
    return { rows: [all], words: `${none} Try a more common word, or look through:` };
  }

  /** Read the related concepts off the page of a concept, which has them by their cosine. */
  async related({ text, href }) {
    const page = await this.once(href, "text").catch(() => "");
    const read = new DOMParser().parseFromString(page, "text/html");
    const chips = read.querySelectorAll(".na-near div:has(> h2 a[href$='#related']) a.na-chip");
    return [...chips].map((chip) => ({
      kind: "related",
      text: chip.querySelector("bdi").textContent,
      note: `near “${text}”`,
      href: new URL(chip.getAttribute("href"), href).href,
    }));
  }

  /** Lead to the units of a word on the explore page, where they can be narrowed. */
  narrow(word) {
    const href = this.href(`explore.html?word=${encodeURIComponent(word)}`);
    return { kind: "narrow", text: `Narrow the units of “${visible(word)}”`, note: "", href };
  }

  /** Find words whose stem the typed word begins with, the longest stem first. */
  async family(word) {
    for (let length = word.length - 1; length >= Math.max(3, word.length - 5); length--) {
      const entries = await this.entries("concepts", word.slice(0, length));
      const kin = entries.filter((entry) => {
        const stem = entry[3] || entry[0];
        return stem.length >= 3 && word.startsWith(stem.replace(/i$/, "")) && entry[0].length <= word.length + 3;
      });
      if (kin.length) return kin.sort((a, b) => b[1] - a[1]);
    }
    return [];
  }

  /** Find words a letter or two away that begin alike. */
  async near(word) {
    const most = word.length > 5 ? 2 : 1;
    const entries = word.length > 2 ? await this.entries("concepts", word.slice(0, 2), 6) : [];
    return entries
      .map((entry) => [edits(word, entry[0], most), entry])
      .filter(([distance]) => distance <= most)
      .sort((a, b) => a[0] - b[0] || b[1][1] - a[1][1])
      .map(([, entry]) => entry);
  }

  /** Choose among the units of note. */
  async randomUnit() {
    const { notable, units_per_layer } = await this.index();
    if (!notable.length) return null;
    const uid = notable[Math.floor(Math.random() * notable.length)];
    return this.unitHref(Math.floor(uid / units_per_layer), uid % units_per_layer);
  }
}
