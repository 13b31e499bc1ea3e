"use strict";
// Headings become buttons that sort; longer tables get a filter. Without scripts the page is complete, only still.

const collator = new Intl.Collator(undefined, { numeric: true });

function sortKey(row, column) {
  const cell = row.cells[column];
  if (!("value" in cell.dataset)) return cell.textContent;
  return cell.dataset.value === "" ? null : Number(cell.dataset.value);
}

function compare(a, b) {
  if (a === null || b === null) return 0;
  return typeof a === "number" && typeof b === "number" ? a - b : collator.compare(String(a), String(b));
}

function sortBy(table, heading, column) {
  const direction = heading.getAttribute("aria-sort") === "ascending" ? "descending" : "ascending";
  for (const other of table.tHead.rows[0].cells) {
    if (other.hasAttribute("aria-sort")) other.setAttribute("aria-sort", "none");
  }
  heading.setAttribute("aria-sort", direction);
  const sign = direction === "ascending" ? 1 : -1;
  const body = table.tBodies[0];
  const rows = [...body.rows].map((row) => [sortKey(row, column), row]);
  rows.sort(([a], [b]) => (a === null) - (b === null) || sign * compare(a, b)); // unknown values stay last
  body.append(...rows.map(([, row]) => row));
}

function makeSortable(table) {
  [...table.tHead.rows[0].cells].forEach((heading, column) => {
    if (heading.classList.contains("fixed")) return;
    const button = document.createElement("button");
    button.type = "button";
    button.append(...heading.childNodes);
    heading.append(button);
    heading.setAttribute("aria-sort", "none");
    button.addEventListener("click", () => sortBy(table, heading, column));
  });
}

function makeFilter(box) {
  const table = box.querySelector("table");
  const label = document.createElement("label");
  const input = document.createElement("input");
  const count = document.createElement("output");
  input.type = "search";
  label.append("Filter ", input);
  const bar = document.createElement("div");
  bar.className = "filter";
  bar.append(label, count);
  box.prepend(bar);
  input.addEventListener("input", () => {
    const wanted = input.value.trim().toLowerCase();
    let shown = 0;
    for (const row of table.tBodies[0].rows) {
      row.hidden = !row.textContent.toLowerCase().includes(wanted);
      shown += row.hidden ? 0 : 1;
    }
    count.textContent = wanted ? `${shown} of ${table.tBodies[0].rows.length} rows` : "";
  });
}

function labelled(text, type, set) {
  const label = document.createElement("label");
  const input = document.createElement("input");
  input.type = type;
  set(input);
  if (type === "checkbox") label.append(input, text);
  else label.append(text, input);
  return [label, input];
}

function makeViewer(stack) {
  const labels = JSON.parse(stack.dataset.labels);
  const columns = Number(stack.dataset.columns);
  const frame = stack.querySelector(".frame");
  const mask = frame.querySelector(".mask");
  const place = document.createElement("output");
  let shown = Number(stack.dataset.first);
  let turned = 0;
  const [slider, slice] = labelled("", "range", (input) => {
    Object.assign(input, { min: 0, max: labels.length - 1, value: shown });
    input.setAttribute("aria-label", "Slice");
  });
  function show(wanted) {
    shown = Math.max(0, Math.min(labels.length - 1, wanted));
    frame.style.setProperty("--column", shown % columns);
    frame.style.setProperty("--row", Math.floor(shown / columns));
    slice.value = shown;
    slice.setAttribute("aria-valuetext", labels[shown]);
    place.textContent = labels[shown];
  }
  slice.addEventListener("input", () => show(Number(slice.value)));
  const controls = document.createElement("div");
  controls.className = "controls";
  controls.append(slider, place);
  if (mask) {
    const [box, on] = labelled("mask", "checkbox", (input) => { input.checked = true; });
    const [strength, opacity] = labelled("opacity", "range", (input) => Object.assign(input, { min: 10, max: 100, value: 50 }));
    on.addEventListener("input", () => { mask.hidden = !on.checked; opacity.disabled = mask.hidden; });
    opacity.addEventListener("input", () => mask.style.setProperty("opacity", opacity.value / 100));
    controls.append(box, strength);
  }
  frame.after(controls);
  frame.tabIndex = 0;
  frame.title = "Click, then leaf through with the wheel or the arrow keys";
  const steps = { ArrowUp: 1, ArrowRight: 1, ArrowDown: -1, ArrowLeft: -1, PageUp: 5, PageDown: -5, Home: -Infinity, End: Infinity };
  frame.addEventListener("keydown", (event) => {
    if (!(event.key in steps) || event.ctrlKey || event.altKey || event.metaKey) return;
    event.preventDefault();
    show(shown + steps[event.key]);
  });
  frame.addEventListener("wheel", (event) => {
    if (document.activeElement !== frame) return; // a page that scrolls past must not stop at each picture
    event.preventDefault();
    turned += event.deltaMode === 0 ? event.deltaY / 50 : Math.sign(event.deltaY);
    const whole = Math.trunc(turned);
    turned -= whole;
    if (whole) show(shown - Math.sign(whole));
  }, { passive: false });
  show(shown);
}

document.querySelectorAll("table").forEach(makeSortable);
document.querySelectorAll(".stack").forEach(makeViewer);
document.querySelectorAll(".filtered").forEach(makeFilter);
document.addEventListener("play", (event) => {
  for (const player of document.querySelectorAll("audio")) if (player !== event.target) player.pause();
}, true);
window.addEventListener("beforeprint", () => document.querySelectorAll("details").forEach((part) => { part.open = true; }));
