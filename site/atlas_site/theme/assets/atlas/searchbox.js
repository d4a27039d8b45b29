// A combobox: what is typed is answered at once by a list that arrows, Enter and clicks open.

/** Join an input with the list that shows its answers. */
export function attachSearch(input, list, finder) {
  let latest = 0;
  let active = -1;

  input.setAttribute("role", "combobox");
  input.setAttribute("aria-autocomplete", "list");
  input.setAttribute("aria-controls", list.id);
  input.setAttribute("aria-expanded", "false");

  const options = () => [...list.querySelectorAll("[role=option]")];

  const activate = (place) => {
    active = place;
    options().forEach((option, i) => option.setAttribute("aria-selected", String(i === place)));
    const chosen = options()[place];
    if (chosen) {
      input.setAttribute("aria-activedescendant", chosen.id);
      chosen.scrollIntoView({ block: "nearest" });
    } else {
      input.removeAttribute("aria-activedescendant");
    }
  };

  const show = ({ rows, words }) => {
    const parts = [];
    if (words) {
      const said = document.createElement("p");
      said.setAttribute("role", "status");
      said.textContent = words;
      parts.push(said);
    }
    list.replaceChildren(...parts);
    add(rows);
    input.setAttribute("aria-expanded", String(rows.length > 0));
    activate(-1);
  };

  const add = (rows) => {
    const first = options().length;
    list.append(...rows.map((row, i) => option(row, `${list.id}-${first + i}`, input.value.trim())));
  };

  const answer = async () => {
    const mine = ++latest;
    try {
      const found = await finder.find(input.value);
      if (mine === latest) show(found);
      found.later?.then((rows) => mine === latest && add(rows));
      return found;
    } catch {
      show({ rows: [], words: "The search index could not be read from this site." });
      return null;
    }
  };

  input.addEventListener("input", answer);
  input.addEventListener("focus", () => {
    finder.index().catch(() => {});
    if (input.value) answer();
  });
  input.form?.addEventListener("reset", () => show({ rows: [], words: "" }));

  input.addEventListener("keydown", (event) => {
    const rows = options();
    if (event.key === "Enter" && input.value.trim()) {
      event.preventDefault();
      event.stopPropagation();
      open(active);
    } else if (event.key === "ArrowDown" && active < rows.length - 1) {
      event.preventDefault();
      event.stopPropagation();
      activate(active + 1);
    } else if (event.key === "ArrowUp" && active >= 0) {
      event.preventDefault();
      event.stopPropagation();
      activate(active - 1);
    } else if (event.key === "Escape") {
      show({ rows: [], words: "" });
    }
  });

  // Enter may come before the answer does: ask again, then open it.
  const open = async (place) => {
    const chosen = options()[place];
    if (chosen) {
      location.assign(chosen.href);
      return;
    }
    const found = await answer();
    const pages = document.querySelector(".md-search-result__list [href]");
    if (found?.rows.length) location.assign(found.rows[0].href);
    else if (pages && list.closest(".md-search")) location.assign(pages.href);
  };

  if (!list.closest(".md-search")) {
    document.addEventListener("pointerdown", (event) => {
      if (!list.contains(event.target) && event.target !== input) list.replaceChildren();
    });
  }
}

function option(row, id, typed) {
  const link = document.createElement("a");
  link.id = id;
  link.href = row.href;
  link.tabIndex = -1;
  link.setAttribute("role", "option");
  link.setAttribute("aria-selected", "false");
  const name = document.createElement("bdi");
  const begins = row.kind === "concept" && row.text.toLowerCase().startsWith(typed.toLowerCase());
  if (begins && typed) {
    const same = document.createElement("mark");
    same.textContent = row.text.slice(0, typed.length);
    name.append(same, row.text.slice(typed.length));
  } else {
    name.textContent = row.text;
  }
  const note = document.createElement("small");
  note.textContent = row.note;
  link.append(name, note);
  return link;
}
