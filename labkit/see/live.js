// Puts what can be used in the place of what is saved, as long as there is a kernel.
//
// Python sends each piece of a page its `face`, as data; what is done to it goes back as
// `{uid, do, value}`. A piece stands wherever the page has an element with `data-labkit` and its
// id. Python draws the SVG; here its lanes are laid beside their rows, and time moves them evenly.
// @ts-check

/**
 * @typedef {{on(event: string, hear: Function): void, off(event: string, hear: Function): void,
 *   send(said: object): void}} Model
 * @typedef {[verb: string, title: string, disabled: boolean, pressed: boolean | null]} ButtonFace
 * @typedef {{name: string, chips: string, state: string, buttons: ButtonFace[]}} RowFace
 * @typedef {{svg: string, lanes: Record<string, number>, lane: number,
 *   time: [since: number, until: number, left: number, scale: number], down: string,
 *   tree: string, cells: [name: string, chip: string, state: string][], rows: (RowFace | null)[],
 *   reserved: number, many: [chosen: string, row: RowFace] | null,
 *   slider: [value: number, max: number] | null, zookeeper: [on: boolean, disabled: boolean] | null,
 *   timeout: number | null, clients: boolean | null, window: number[], again: boolean,
 *   message: [text: string, alarm: boolean]}} PanelFace
 * @typedef {(what: string, value?: unknown) => void} Say
 * @typedef {{root: HTMLElement, show(news: any, face: any): void, end(): void}} View
 * @typedef {{kind: string, face: any, views: Map<Element, View>, saved: Map<Element, Node[]>}} Piece
 */

const PITCH = 46; // of a row, in CSS pixels, as in `live.css`
const HEADER = 52; // what a narrow row has above its lane
const TOP = 18; // above the lanes, for what is said of ZooKeeper
const AXIS = 20;

const ICONS = /** @type {Record<string, string>} */ ({
  start: "M5 3l8 5-8 5z",
  stop: "M4 4h8v8H4z",
  kill: "M3.5 3.5l9 9m0-9l-9 9",
  pause: "M5.5 3.5v9m5-9v9",
  resume: "M3.5 3.5v9M7 3.5l6 4.5-6 4.5z",
  partition: "M1.5 8h4m5 0h4M6.5 4.5l3 7",
  heal: "M1.5 8h13M5 5v6m6-6v6",
  ask: "M5 6a3 3 0 1 1 4.2 2.7C8.3 9.1 8 9.6 8 10.4M8 12.4v1.2",
});
const FILLED = ["start", "stop", "resume"];

/** @param {string} tag @param {string} [name] @param {(string | Node)[]} [children] */
const make = (tag, name = "", children = []) => element(tag, name ? { class: name } : {}, ...children);

/** @param {string} name @param {() => void} press */
function pressed(name, press) {
  const made = /** @type {HTMLButtonElement} */ (element("button", name ? { type: "button", class: name } : { type: "button" }));
  made.addEventListener("click", press);
  return made;
}

/** As many children as there are of `all`, each new one made. @template T @param {HTMLElement} parent @param {T[]} all @param {() => HTMLButtonElement} one */
function follow(parent, all, one) {
  while (parent.children.length > all.length) parent.lastChild?.remove();
  while (parent.children.length < all.length) parent.append(one());
  return all.map((face, at) => /** @type {const} */ ([face, /** @type {HTMLButtonElement} */ (parent.children[at])]));
}

/** @param {HTMLElement} place @param {string} html */
function fill(place, html) {
  if (place.dataset.html !== html) place.innerHTML = place.dataset.html = html;
}

/** @param {HTMLButtonElement} button @param {ButtonFace} face @param {string} name */
function dress(button, [verb, title, disabled, pressed], name) {
  if (button.dataset.verb !== verb) {
    button.dataset.verb = verb;
    const fill = FILLED.includes(verb) ? "currentColor" : "none";
    button.innerHTML = `<svg width="16" height="16" viewBox="0 0 16 16" aria-hidden="true"><path
      d="${ICONS[verb] ?? ""}" fill="${fill}" stroke="currentColor" stroke-width="1.8"
      stroke-linecap="round" stroke-linejoin="round"/></svg>`;
    button.setAttribute("aria-label", `${verb} ${name}`);
  }
  Object.assign(button, { title: `${verb}: ${title}`, disabled, ariaPressed: pressed === null ? null : String(pressed) });
}

/** A row: name, numbers and state at the left, buttons at the right. @param {Say} say */
function row(say) {
  const name = make("b"), chips = make("span"), state = make("small");
  const who = make("div", "lk-who", [name, " ", chips, state]);
  const buttons = make("div", "lk-do");
  const root = element("div", { class: "lk-row", role: "group" }, who, buttons);
  /** @param {RowFace | null} face */
  function show(face) {
    root.style.visibility = face ? "visible" : "hidden";
    if (!face) return;
    name.textContent = face.name;
    root.ariaLabel = face.name;
    fill(chips, face.chips);
    state.textContent = state.title = face.state;
    for (const [one, button] of follow(buttons, face.buttons, () => {
      const fresh = pressed("lk-icon", () => say("press", [root.ariaLabel, [...buttons.children].indexOf(fresh)]));
      return fresh;
    })) {
      if (button.dataset.of !== face.name) button.dataset.verb = "";
      button.dataset.of = face.name;
      dress(button, one, face.name);
    }
  }
  return { root, show };
}

/** What moves: the lanes, at the places of their rows, and the seconds below them. */
class Layer {
  constructor() {
    this.root = make("div", "lk-layer");
    this.plot = make("div", "lk-plot", [this.root]);
    /** @type {[number, number, number, number]} */
    this.time = [0, 0, 0, 1];
    this.offset = 0; // between the browser's clock and the lab's, in seconds
    this.moving = false;
    this.key = ""; // what bars and marks mean, in HTML
    this.box = document.createElement("div");
  }

  /** Lay the drawing's lanes where `y` says. @param {PanelFace} face @param {(name: string) => number | null} y @param {number} bottom */
  draw(face, y, bottom) {
    this.box.innerHTML = face.svg;
    const drawn = this.box.querySelector("svg");
    if (!drawn) return;
    const [since, until, left, scale] = face.time;
    const svg = /** @type {SVGSVGElement} */ (drawn.cloneNode(false));
    for (const own of ["style", "viewBox"]) svg.removeAttribute(own);
    svg.setAttribute("width", "900");
    svg.setAttribute("height", String(bottom + AXIS));
    const parts = [];
    for (const part of drawn.querySelectorAll("defs, .down")) {
      if (part.matches(".down")) {
        part.setAttribute("y", "0");
        part.setAttribute("height", String(bottom));
        const x = Number(part.getAttribute("x")) + 3;
        parts.push(`<text x="${x}" y="12">${face.down}</text>`);
      }
      svg.append(part);
    }
    for (const lane of drawn.querySelectorAll("[data-node]")) {
      const name = /** @type {SVGElement} */ (lane).dataset.node ?? "";
      const at = y(name);
      if (at === null) continue;
      lane.setAttribute("transform", `translate(0 ${at - face.lanes[name]})`);
      svg.append(lane);
    }
    const step = [1, 2, 5, 10, 20, 50, 100, 200, 500].find((s) => s * scale >= 60) ?? 1000;
    for (let t = Math.max(Math.ceil(since / step) * step, 0); t <= until + 5; t += step) {
      const x = left + (t - since) * scale;
      parts.push(`<path d="M${x} ${bottom}v4" stroke="currentColor"/>` +
        `<text x="${x}" y="${bottom + 16}" text-anchor="middle">${t} s</text>`);
    }
    svg.insertAdjacentHTML("beforeend", parts.join(""));
    this.root.replaceChildren(svg);
    this.key = [...drawn.querySelectorAll(":scope > g[transform]")].map((sample) => {
      const text = [...sample.querySelectorAll("text")].pop();
      text?.remove();
      return `<span><svg width="28" height="14" aria-hidden="true">${sample.innerHTML}</svg> ${text?.textContent}</span>`;
    }).join("");
    this.time = face.time;
    const offset = performance.now() / 1000 - until;
    // A picture that was late does not turn time back; clocks drift, so a new one may be right.
    this.offset = offset < this.offset || offset > this.offset + 1 ? offset : this.offset + 0.001;
    this.place();
  }

  place() {
    const [since, until, left, scale] = this.time;
    const now = this.moving ? performance.now() / 1000 - this.offset : until;
    const right = left + (Math.min(now, until + 1) - since) * scale;
    this.root.style.transform = `translateX(${(this.plot.clientWidth - right).toFixed(2)}px)`;
  }
}

/** The panel over a lab. @param {Say} say @returns {View} */
function panel(say) {
  const slider = /** @type {HTMLInputElement} */ (element("input", { type: "range", min: 0, step: 1 }));
  const count = make("output"), slide = make("label", "lk-slide", [make("span", "", ["nodes alive"]), slider, count]);
  const zookeeper = pressed("", () => say("zookeeper", zookeeper.ariaPressed !== "true"));
  const clients = pressed("", () => say("clients", clients.ariaPressed !== "true"));
  const timeout = /** @type {HTMLInputElement} */ (element("input", { type: "number", min: 0.4, max: 600, step: 0.1 }));
  const asked = element("label", { title: "Session timeout that new nodes ask for, in seconds" }, "new sessions, s", timeout);
  const span = /** @type {HTMLSelectElement} */ (make("select")), seconds = make("label", "", ["show", span]);
  const bar = make("div", "lk-bar", [slide, zookeeper, clients, asked, seconds]);

  const layer = new Layer(), names = make("div", "lk-names"), axis = make("div");
  const area = make("div", "lk-rows", [layer.plot, names, axis]);
  const text = make("div"), again = pressed("", () => say("again"));
  again.textContent = "start the lab again";
  const message = make("div", "lk-message", [text, again]);
  const key = make("div", "lk-key"), tree = make("div", "lk-tree");
  const cells = make("div", "lk-cells"), one = make("div", "lk-one");
  const chosen = row(say), many = make("div", "", [cells, one]);
  one.append(chosen.root);
  const root = element("div", { class: "lk lk-panel", role: "group", "aria-label": "the lab under your hands" }, bar, area, many, message, key, tree);

  slider.addEventListener("input", () => {
    count.textContent = slider.value;
    held = performance.now();
    say("slider", Number(slider.value));
  });
  slider.addEventListener("keydown", (event) => { // JupyterLab leaves no arrow key to a slider
    const step = { ArrowLeft: -1, ArrowDown: -1, ArrowRight: 1, ArrowUp: 1, PageDown: -4, PageUp: 4, Home: -1e3, End: 1e3 }[event.key];
    if (!step) return;
    event.preventDefault();
    slider.value = String(Number(slider.value) + step);
    slider.dispatchEvent(new Event("input", { bubbles: true }));
  });
  timeout.addEventListener("change", () => say("timeout", Number(timeout.value)));
  span.addEventListener("change", () => say("window", Number(span.value)));
  root.addEventListener("mouseleave", () => touched && say("left"));
  root.addEventListener("focusout", ({ relatedTarget }) => touched && !root.contains(/** @type {Node | null} */ (relatedTarget)) && say("left"));
  for (const kind of ["input", "click", "change"]) root.addEventListener(kind, () => (touched = true));

  let held = -1e4, touched = false, narrow = false, frame = 0;
  /** @type {PanelFace | null} */
  let last = null;
  /** @type {ReturnType<typeof row>[]} */
  const rows = [];
  const sized = new ResizeObserver(() => {
    narrow = root.clientWidth <= 560;
    if (last) lay(last);
    if (layer.plot.clientWidth) say("room", layer.plot.clientWidth);
  });
  sized.observe(root);

  /** Lay the rows, and the lanes beside them. @param {PanelFace} face */
  function lay(face) {
    const lots = face.cells.length > 0;
    const pitch = narrow ? PITCH + HEADER : PITCH;
    const lane = TOP + (narrow ? HEADER : 0); // its upper edge, in the first row
    /** @type {Record<string, number>} */
    const at = {};
    face.rows.forEach((one, slot) => one && (at[one.name] = slot));
    const lanes = Object.values(face.lanes);
    const bottom = lots ? Math.max(...lanes) + face.lane : TOP + pitch * Math.max(face.rows.length, face.reserved);
    root.classList.toggle("lk-many", lots);
    many.hidden = !lots;
    area.style.height = `${(lots ? bottom : TOP + pitch * face.reserved) + AXIS}px`;
    axis.style.height = layer.plot.style.height = `${bottom + AXIS}px`;
    rows.forEach((one, slot) => (one.root.style.top = `${TOP + pitch * slot}px`));
    layer.draw(face, (name) => (lots ? face.lanes[name] : name in at ? lane + pitch * at[name] : null), bottom);
    fill(key, layer.key);
    tree.style.height = `${18 * (Math.min(face.reserved, 8) + 1)}px`;
    const every = Math.ceil(12 / face.lane), labelled = face.cells.filter((_, i) => i % every === 0);
    names.replaceChildren(...labelled.map(([name]) =>
      element("span", { style: `top:${face.lanes[name] + face.lane / 2 - 6}px` }, name)));
  }

  /** @param {PanelFace} face */
  function table(face) {
    for (const [[name, chip, state], cell] of follow(cells, face.cells, () => {
      const fresh = pressed("", () => say("choice", fresh.dataset.name));
      return fresh;
    })) {
      cell.dataset.name = name;
      Object.assign(cell, { title: `act on ${name}`, ariaPressed: String(face.many?.[0] === name) });
      fill(cell, `${chip} <span></span> <small></small>`);
      /** @type {HTMLElement} */ (cell.querySelector("span:last-of-type")).textContent = name;
      /** @type {HTMLElement} */ (cell.lastChild).textContent = state;
    }
    chosen.show(face.many?.[1] ?? null);
  }

  /** @param {Partial<PanelFace>} news @param {PanelFace} face */
  function show(news, face) {
    last = face;
    slide.style.display = face.slider ? "" : "none";
    if (face.slider) {
      slider.max = String(face.slider[1]);
      if (performance.now() - held > 700) slider.value = count.textContent = String(face.slider[0]);
    }
    for (const [button, on, what] of /** @type {const} */ ([
      [zookeeper, face.zookeeper && face.zookeeper[0], "ZooKeeper"], [clients, face.clients, "clients"]])) {
      button.style.display = on === null ? "none" : "";
      button.ariaPressed = String(on);
      fill(button, `${what}: <span>${on ? "on" : "off"}</span>`);
    }
    zookeeper.disabled = face.zookeeper?.[1] ?? false;
    asked.style.display = face.timeout === null ? "none" : "";
    if (document.activeElement !== timeout) timeout.value = String(face.timeout);
    fill(span, face.window.slice(1).map((s) => `<option value="${s}">${s} s</option>`).join(""));
    span.value = String(face.window[0]);
    text.setAttribute("role", face.message[1] ? "alert" : "status");
    const said = (face.message[1] ? "⚠ " : "") + face.message[0];
    if (text.textContent !== said) text.textContent = said;
    again.style.visibility = face.again ? "visible" : "hidden";
    while (rows.length < face.rows.length) area.append(rows[rows.push(row(say)) - 1].root);
    rows.forEach((one, slot) => one.show(face.rows[slot] ?? null));
    table(face);
    fill(tree, face.tree);
    layer.moving = !face.again;
    if ("svg" in news || "rows" in news) lay(face);
  }

  frame = requestAnimationFrame(function move() {
    if (layer.moving && !matchMedia("(prefers-reduced-motion:reduce)").matches) layer.place();
    frame = requestAnimationFrame(move);
  });
  return { root, show, end: () => { cancelAnimationFrame(frame); sized.disconnect(); } };
}

/** A question: what Python has written, in which `data-do` says what an element does. @param {Say} say @returns {View} */
function form(say) {
  const body = make("div");
  const root = make("div", "lk lk-form", [body]);
  body.addEventListener("click", (event) => {
    const target = /** @type {HTMLElement} */ (event.target).closest("button[data-do]");
    if (target) say(/** @type {HTMLElement} */ (target).dataset.do ?? "", /** @type {HTMLButtonElement} */ (target).value);
  });
  body.addEventListener("change", (event) => {
    const target = /** @type {HTMLInputElement} */ (event.target);
    if (target.dataset.do) say(target.dataset.do, target.value);
  });
  return { root, show: (_, face) => fill(body, face.html), end: () => {} };
}

const KINDS = /** @type {Record<string, (say: Say) => View>} */ ({ panel, form });

/** @param {Element} root @returns {HTMLElement[]} */
const controls = (root) => [...root.querySelectorAll("button, input, select")].map((one) => /** @type {HTMLElement} */ (one));

/** @param {{model: Model}} context */
function initialize({ model }) {
  /** @type {Map<string, Piece>} */
  const pieces = new Map();
  const focused = new WeakMap(); // which control of a view has the keyboard
  /** Let it keep that also when it has moved, or was drawn anew. @param {View} view */
  const keep = (view) => document.activeElement === document.body && controls(view.root)[focused.get(view) ?? -1]?.focus({ preventScroll: true });

  /** Show the piece in an element; a view whose element has gone moves over. @param {Element} host */
  function mount(host) {
    const uid = /** @type {HTMLElement} */ (host).dataset.labkit ?? "";
    let piece = pieces.get(uid);
    if (!piece) {
      piece = { kind: "", face: null, views: new Map(), saved: new Map() };
      pieces.set(uid, piece);
      model.send({ uid, do: "hello" });
    }
    if (!piece.face || piece.views.has(host)) return;
    const lost = [...piece.views.keys()].find((other) => !other.isConnected);
    /** @type {Say} */
    const say = (what, value) => model.send({ uid, do: what, value });
    const view = (lost && piece.views.get(lost)) || KINDS[piece.kind](say);
    if (!lost) {
      view.root.addEventListener("focusin", ({ target }) => focused.set(view, controls(view.root).indexOf(/** @type {HTMLElement} */ (target))));
      // Not at once: what is taken out of the page is still in it, and moves over.
      view.root.addEventListener("focusout", () => setTimeout(() => view.root.isConnected && !view.root.contains(document.activeElement) && focused.delete(view)));
    }
    if (lost) piece.views.delete(lost);
    piece.saved.set(host, [...host.childNodes]);
    host.replaceChildren(view.root);
    keep(view);
    piece.views.set(host, view);
    view.show(piece.face, piece.face);
    if (!lost) say("views", piece.views.size);
  }

  /** @param {Iterable<Node>} nodes */
  function look(nodes) {
    for (const node of nodes) {
      if (!(node instanceof Element)) continue;
      if (node.matches("[data-labkit]")) mount(node);
      for (const host of node.querySelectorAll("[data-labkit]")) mount(host);
    }
  }

  /** @param {Piece} piece */
  function retire(piece) {
    for (const [host, view] of piece.views) {
      view.end();
      host.replaceChildren(...(piece.saved.get(host) ?? []));
    }
    piece.views.clear();
    piece.face = null;
  }

  function dismiss() {
    for (const [uid, piece] of pieces) {
      const gone = [...piece.views].filter(([host]) => !host.isConnected);
      for (const [host, view] of gone) view.end(), piece.views.delete(host);
      if (gone.length) model.send({ uid, do: "views", value: piece.views.size });
    }
  }
  const seen = new MutationObserver((changes) => {
    for (const change of changes) look(change.addedNodes);
    // Not at once: an output that is shown anew goes first, and its view moves over.
    if (changes.some((change) => change.removedNodes.length)) setTimeout(dismiss, 300);
  });
  /** @param {{uid: string, kind: string, whole: boolean, face: any}} news */
  function hear({ uid, kind, whole, face }) {
    const piece = pieces.get(uid) ?? { kind, face: null, views: new Map(), saved: new Map() };
    pieces.set(uid, piece);
    if (face === null) return retire(piece);
    if (!whole && !piece.face) return; // all of it has been asked for
    piece.kind = kind;
    piece.face = { ...piece.face, ...face };
    if (!piece.views.size) look(document.querySelectorAll(`[data-labkit="${uid}"]`));
    else for (const view of piece.views.values()) view.show(face, piece.face), keep(view);
  }

  model.on("msg:custom", hear);
  seen.observe(document.body, { childList: true, subtree: true });
  look([document.body]);
  return () => {
    model.off("msg:custom", hear);
    seen.disconnect();
    for (const piece of pieces.values()) retire(piece);
  };
}

// A panel's keys are its own, but for Control-S and the like. Enter ends what is typed, Escape leaves.
window.addEventListener("keydown", ({ ctrlKey, metaKey, key, target }) => {
  for (const host of document.querySelectorAll("[data-labkit]")) host.toggleAttribute("data-lm-suppress-shortcuts", !(ctrlKey || metaKey));
  const at = /** @type {Element} */ (target);
  if (key === "Enter" && at.matches("[data-labkit] input")) at.dispatchEvent(new Event("change", { bubbles: true }));
  if (key === "Escape" && at.closest("[data-lm-suppress-shortcuts]")) /** @type {HTMLElement | null} */ (at.closest(".jp-Cell"))?.focus();
}, true);
export default { initialize, render: () => {} };
