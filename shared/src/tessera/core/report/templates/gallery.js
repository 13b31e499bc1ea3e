
// Pictures of a gallery become buttons that open a larger view; above them come an order and filters.

function element(tag, name, ...content) {
  const made = document.createElement(tag);
  if (name) made.className = name;
  made.append(...content);
  return made;
}

function pushButton(text, act) {
  const button = element("button", "", text);
  button.type = "button";
  button.addEventListener("click", act);
  return button;
}

function chooser(text, choices, act) {
  const select = element("select", "", ...choices.map(([name, value]) => new Option(name, value)));
  select.addEventListener("change", act);
  return [element("label", "", `${text} `, select), select];
}

function makeTile(item) {
  const details = item.querySelector("details");
  details.remove();
  const button = element("button", "open", ...item.childNodes);
  button.type = "button";
  item.append(button);
  return {
    item, button, id: item.dataset.id,
    keys: JSON.parse(item.dataset.keys),
    kinds: JSON.parse(item.dataset.kinds),
    sight: button.querySelector(".sight"),
    heat: details.querySelector(".heat"),
    more: details.querySelector(".more"),
    text: `${button.textContent} ${details.textContent}`.toLowerCase(),
  };
}

function makeDetail(visible) {
  const dialog = element("dialog", "larger");
  const heading = element("h3");
  const place = element("output");
  const sheet = element("div", "sheet");
  const facts = element("div", "facts-of");
  const [box, on] = labelled("heat map", "checkbox", (input) => { input.checked = true; });
  const [strength, opacity] = labelled("opacity", "range", (input) => Object.assign(input, { min: 10, max: 100, value: 70 }));
  const controls = element("div", "controls", box, strength);
  let shown = null;
  function blend() {
    const heat = sheet.querySelector(".heat");
    controls.hidden = !heat;
    opacity.disabled = !on.checked;
    if (!heat) return;
    heat.hidden = !on.checked;
    heat.style.setProperty("opacity", opacity.value / 100);
  }
  function show(tile) {
    const tiles = visible();
    shown = tile;
    heading.textContent = tile.id;
    place.textContent = `${tiles.indexOf(tile) + 1} of ${tiles.length}`;
    const sight = tile.sight.cloneNode();
    sheet.replaceChildren(sight, ...(tile.heat ? [tile.heat.cloneNode()] : []));
    facts.replaceChildren(tile.more.cloneNode(true));
    blend();
  }
  function step(by) {
    const tiles = visible();
    show(tiles[(tiles.indexOf(shown) + by + tiles.length) % tiles.length]);
  }
  on.addEventListener("input", blend);
  opacity.addEventListener("input", blend);
  dialog.setAttribute("aria-label", "Larger view");
  heading.setAttribute("aria-live", "polite");
  const bar = element("header", "", heading, place);
  bar.append(pushButton("Previous", () => step(-1)), pushButton("Next", () => step(1)), pushButton("Close", () => dialog.close()));
  dialog.append(bar, element("div", "parts", element("div", "", sheet, controls), facts));
  dialog.addEventListener("keydown", (event) => {
    const by = { ArrowLeft: -1, ArrowRight: 1 }[event.key];
    if (!by || event.target.type === "range" || event.ctrlKey || event.altKey || event.metaKey) return;
    event.preventDefault();
    step(by);
  });
  dialog.addEventListener("click", (event) => { if (event.target === dialog) dialog.close(); }); // beside it
  dialog.addEventListener("close", () => shown.button.focus());
  return { dialog, open(tile) { show(tile); dialog.showModal(); } };
}

function makeGallery(gallery) {
  const list = gallery.querySelector(".tiles");
  const orders = JSON.parse(gallery.dataset.orders);
  const tiles = [...list.children].map(makeTile);
  const count = element("output");
  const visible = () => [...list.children].map((item) => tiles.find((tile) => tile.item === item)).filter((tile) => !tile.item.hidden);
  const detail = makeDetail(visible);
  tiles.forEach((tile) => tile.button.addEventListener("click", () => detail.open(tile)));

  const [order, sorted] = chooser("Sort by", [...orders, "name"].map((name, i) => [name, i]), () => {
    const by = Number(sorted.value);
    const known = (tile) => tile.keys[by] ?? -Infinity; // unknown ones come last
    const byName = (a, b) => collator.compare(a.id, b.id);
    tiles.sort(by === orders.length ? byName : (a, b) => Math.sign(known(b) - known(a)) || byName(a, b));
    list.append(...tiles.map((tile) => tile.item));
  });
  const [text, input] = labelled("Filter ", "search", () => {});
  const chosen = JSON.parse(gallery.dataset.filters).map((name, i) => {
    const found = [...new Set(tiles.flatMap((tile) => tile.kinds[i]))].sort(collator.compare);
    return chooser(name, [["all", ""], ...found.map((word, place) => [word, place + 1])], filter).concat([found]);
  });
  function filter() {
    const wanted = input.value.trim().toLowerCase();
    for (const tile of tiles) {
      const fits = chosen.every(([, select, words], i) => !select.value || tile.kinds[i].includes(words[select.value - 1]));
      tile.item.hidden = !fits || !tile.text.includes(wanted);
    }
    const left = visible().length;
    count.textContent = left < tiles.length ? `${left} of ${tiles.length} pictures` : "";
  }
  input.addEventListener("input", filter);
  const bar = element("div", "filter", order, ...chosen.map(([label]) => label), text, count);
  list.before(bar);
  gallery.append(detail.dialog);
}

document.querySelectorAll(".gallery").forEach(makeGallery);
