"use strict";
// Everything is in the page already: this only sorts, filters, explains, copies, and shows evidence beside the number.
(() => {
  const make = (tag, text = "", name = "") => {
    const element = document.createElement(tag);
    if (text) element.textContent = text;
    if (name) element.className = name;
    return element;
  };

  // --- sorting ---
  const keyOf = (row, column) => {
    const cell = row.cells[column];
    const value = cell.dataset.v;
    if (value === undefined) return cell.textContent.trim().toLowerCase();
    return value === "" ? null : Number(value);
  };
  const compare = (a, b, sign) => {
    if (a === null || b === null) return (a === null) - (b === null); // undefined ones stay last
    return sign * (typeof a === "number" && typeof b === "number" ? a - b : String(a).localeCompare(String(b)));
  };
  const sortBy = (table, header) => {
    const before = header.getAttribute("aria-sort");
    const number = header.classList.contains("n");
    const order = before === null ? (number ? "descending" : "ascending") : before === "ascending" ? "descending" : "ascending";
    table.querySelectorAll("thead th[aria-sort]").forEach((other) => other.removeAttribute("aria-sort"));
    header.setAttribute("aria-sort", order);
    const column = header.cellIndex;
    const sign = order === "ascending" ? 1 : -1;
    const rows = [...table.tBodies[0].rows].map((row) => [keyOf(row, column), row]);
    rows.sort((x, y) => compare(x[0], y[0], sign));
    table.tBodies[0].append(...rows.map((pair) => pair[1]));
  };
  document.querySelectorAll("table.sortable").forEach((table) => {
    if (table.tBodies[0].rows.length < 2) return;
    table.querySelectorAll("thead th:not(.plot)").forEach((header) => {
      const button = make("button");
      button.type = "button";
      button.append(...header.childNodes);
      header.append(button);
      button.addEventListener("click", () => sortBy(table, header));
    });
  });

  // --- filtering ---
  document.querySelectorAll("table.filtered").forEach((table) => {
    const rows = [...table.tBodies[0].rows];
    if (rows.length < 3) return;
    const box = make("div", "", "filter");
    const label = make("label", "Filter rows ");
    const input = make("input");
    const told = make("span");
    input.type = "search";
    label.append(input);
    told.setAttribute("role", "status");
    box.append(label, told);
    table.parentElement.before(box);
    const texts = new Map(rows.map((row) => [row, row.textContent.toLowerCase()]));
    input.addEventListener("input", () => {
      const words = input.value.toLowerCase().split(/\s+/).filter(Boolean);
      let shown = 0;
      rows.forEach((row) => {
        row.hidden = !words.every((word) => texts.get(row).includes(word));
        shown += row.hidden ? 0 : 1;
      });
      told.textContent = words.length ? `${shown} of ${rows.length} rows` : "";
    });
  });

  // --- copying ---
  const copy = async (button, text) => {
    let done = true;
    try {
      await navigator.clipboard.writeText(text);
    } catch {
      const area = make("textarea");
      area.value = text;
      (button.closest("dialog") || document.body).append(area);
      area.select();
      done = document.execCommand("copy");
      area.remove();
      button.focus();
    }
    button.textContent = done ? "copied" : "select it by hand";
    setTimeout(() => { button.textContent = "copy"; }, 1500);
  };
  const addCopying = (place) => {
    place.querySelectorAll("code.command, code[data-copy]").forEach((code) => {
      const button = make("button", "copy", "copy");
      button.type = "button";
      button.setAttribute("aria-label", `copy ${code.textContent}`);
      button.addEventListener("click", () => copy(button, code.textContent));
      code.after(button);
    });
  };

  // --- evidence, beside the number that was clicked ---
  const dialog = make("dialog");
  const head = make("div", "", "head");
  const title = make("h2");
  const close = make("button", "Close", "close");
  const body = make("div", "", "body");
  title.id = "evidence-title";
  title.tabIndex = -1;
  close.type = "button";
  dialog.setAttribute("aria-labelledby", title.id);
  head.append(title, close);
  dialog.append(head, body);
  document.body.append(dialog);
  close.addEventListener("click", () => dialog.close());
  dialog.addEventListener("click", (event) => { if (event.target === dialog) dialog.close(); });
  const showEvidence = (link) => {
    const block = document.getElementById(link.getAttribute("href").slice(1));
    if (!block) return false;
    title.textContent = block.querySelector("summary").textContent.trim();
    body.replaceChildren(...[...block.children].slice(1).map((child) => child.cloneNode(true)));
    body.querySelectorAll(".copy").forEach((button) => button.remove());
    addCopying(body);
    if (!dialog.open) dialog.showModal();
    dialog.scrollTop = 0;
    title.focus();
    return true;
  };
  document.addEventListener("click", (event) => {
    const link = event.target.closest("a[data-evidence]");
    if (!link || event.ctrlKey || event.metaKey || event.shiftKey || event.button) return;
    if (showEvidence(link)) event.preventDefault();
  });
  addCopying(document);
  // A link to a part that is folded away opens what it is in.
  const unfold = () => {
    const target = location.hash && document.getElementById(decodeURIComponent(location.hash.slice(1)));
    if (!target) return;
    for (let place = target; place; place = place.parentElement) if (place.tagName === "DETAILS") place.open = true;
    target.scrollIntoView();
  };
  addEventListener("hashchange", unfold);
  unfold();

  // --- tooltips: of cells with more to say, and of what carries data in a drawing ---
  const tip = make("div");
  tip.id = "tip";
  tip.hidden = true;
  tip.setAttribute("role", "tooltip");
  document.body.append(tip);
  const textOf = (element) => {
    const own = element.closest("[data-tip]");
    if (own) return own.dataset.tip;
    const drawn = element.closest("svg g.mark, svg .box, svg line.edge");
    if (!drawn) return "";
    const name = [...drawn.children].find((child) => child.tagName === "title");
    if (name) { // the browser's own tooltip would come on top
      drawn.dataset.told = name.textContent;
      name.remove();
    }
    return drawn.dataset.told || "";
  };
  document.addEventListener("pointermove", (event) => {
    const text = event.target instanceof Element ? textOf(event.target) : "";
    tip.hidden = !text;
    if (!text) return;
    tip.textContent = text;
    const width = tip.offsetWidth, height = tip.offsetHeight;
    tip.style.left = `${Math.max(4, Math.min(event.clientX + 12, innerWidth - width - 8))}px`;
    tip.style.top = `${event.clientY + 18 + height < innerHeight ? event.clientY + 18 : event.clientY - height - 10}px`;
  });
  addEventListener("keydown", (event) => { if (event.key === "Escape") tip.hidden = true; });

  // --- printing ---
  let closed = [];
  addEventListener("beforeprint", () => {
    closed = [...document.querySelectorAll("details:not([open])")];
    closed.forEach((item) => { item.open = true; });
  });
  addEventListener("afterprint", () => closed.forEach((item) => { item.open = false; }));
})();
