// A schedule, step by step; and the puzzle, whose steps a reader chooses.
// @ts-check

/**
 * @typedef {{name: string, alive: boolean, waits: string | null, differs: string[],
 *   believes: Record<string, unknown>, truth: Record<string, unknown>}} Actor
 * @typedef {{tree: {path: string, data: string, owner: string | null, version: number}[], actors: Actor[]}} Sides
 * @typedef {Sides & {sentence: string}} Moment
 * @typedef {{sentence: string, fault: boolean, to: number | null}} Move
 * @typedef {Sides & {wrong: string | null, far: number | null, choices: Move[]}} State
 * @typedef {{par: number | null, whole: boolean, packed: string}} Puzzle
 * @typedef {{wrong?: boolean, cells: string[]}} Line
 */

/** @param {string} caption @param {string[]} heads @param {Line[]} lines */
function table(caption, heads, lines) {
  return element("table", {}, element("caption", { style: "text-align:left;font-weight:bold" }, caption),
    element("thead", {}, element("tr", {}, ...heads.map((word) => element("th", { scope: "col" }, word)))),
    element("tbody", {}, ...lines.map(({ wrong, cells }) =>
      element("tr", wrong ? { class: "wrong" } : {}, ...cells.map((cell) => element("td", {}, cell))))));
}

/** The tree, and what each actor believes against what is true. @param {Sides} moment */
function sides({ tree, actors }) {
  const said = (/** @type {unknown} */ value) => String(value ?? "nothing");
  const beliefs = actors.flatMap(({ name, alive, waits, differs, believes, truth }) => {
    /** @type {Line[]} */
    const lines = Object.keys({ ...believes, ...truth }).map((key) => {
      const wrong = differs.includes(key), so = wrong ? `≠ ${said(truth[key])}` : "so it is";
      return { wrong, cells: [name, `${key.replaceAll("_", " ")}: ${said(believes[key])}`, key in truth ? so : ""] };
    });
    if (!alive) lines.push({ wrong: true, cells: [name, "", "its session has ended"] });
    return lines.length ? lines : [{ cells: [name, waits || "–", ""] }];
  });
  const znodes = tree.map((z) => ({ cells: [z.path, z.data, z.owner ?? "", String(z.version)] }));
  return [table("The tree", ["znode", "data", "owner", "version"], znodes),
    table("Belief and truth", ["who", "believes", "truth"], beliefs)];
}

/** @param {Moment[]} moments @param {HTMLElement} host */
function player(moments, host) {
  const steps = /** @type {NodeListOf<SVGElement>} */ (host.querySelectorAll(".step")), lines = host.querySelectorAll(".said li");
  const sentence = element("div", { "aria-live": "polite", style: "min-height:2.8em" });
  const beside = element("div", { class: "sides" });
  const { slider, buttons } = walk(host, "step", "step", moments.map((_, at) => at + 1), moments.length, () => 1 / 1.8, (place) => {
    const now = Math.floor(place + 1e-3) - 1;
    for (const step of steps) step.classList.toggle("later", Number(step.dataset.step) > now);
    lines.forEach((line, at) => line.classList.toggle("now", at === now));
    const words = `${now + 1}. ${moments[now].sentence}`;
    if (sentence.textContent !== words) {
      sentence.textContent = words;
      beside.replaceChildren(...sides(moments[now]));
    }
    return `step ${now + 1} of ${moments.length}`;
  });
  const figure = host.querySelector(".figure");
  figure?.before(element("div", { class: "bar", role: "group", "aria-label": "steps" }, ...buttons, slider), sentence);
  figure?.after(beside);
}

/** @param {Puzzle} puzzle @param {HTMLElement} host */
async function network({ par, whole, packed }, host) {
  const bytes = Uint8Array.from(atob(packed), (c) => c.charCodeAt(0));
  const opened = new Blob([bytes]).stream().pipeThrough(new DecompressionStream("gzip"));
  const states = /** @type {State[]} */ (await new Response(opened).json());
  const way = [0], told = /** @type {string[]} */ ([]);
  const sentence = element("div", { "aria-live": "polite", style: "min-height:1.4em" });
  const moves = element("div", { class: "moves", role: "group", "aria-label": "what happens next" });
  const beside = element("div", { class: "sides" }), list = element("ol", { class: "said" });
  let hinted = false;
  const here = () => states[way[way.length - 1]];
  const far = (/** @type {Move} */ { to }) => (to === null ? null : states[to].far) ?? Infinity;
  const closest = () => here().choices.filter((move) => far(move) < Infinity).sort((a, b) => far(a) - far(b))[0];
  const go = (/** @type {Move} */ { to, sentence }) => { way.push(/** @type {number} */ (to)); told.push(sentence); hinted = false; };
  function anew() { way.length = 1; told.length = 0; hinted = false; }
  function words() {
    const { wrong, choices } = here(), count = `${told.length} move${told.length === 1 ? "" : "s"}`;
    if (wrong) return `Broken in ${count}${told.length === par ? ": that is par." : `; ${par} are enough.`} ${wrong}.`;
    if (!choices.length) return `${count}. Nothing more can happen, and all is well. Undo, or begin anew.`;
    if (!hinted || closest()) return `${count}. What happens next?`;
    return par === null ? "Nothing breaks it: every state is right." : "From here it can't be broken any more: undo.";
  }
  function show(focus = false) {
    const state = here(), hint = hinted ? closest() : null;
    list.replaceChildren(...told.map((text) => element("li", {}, text)));
    beside.replaceChildren(...sides(state));
    moves.replaceChildren(...(state.wrong ? [] : state.choices).map((move) => {
      const made = button((move === hint ? "→ " : "") + move.sentence, move.sentence, () => { go(move); show(true); });
      if (move.fault) made.className = "fault";
      if (move.to === null) Object.assign(made, { disabled: true, title: "beyond what was explored" });
      return made;
    }));
    sentence.textContent = words();
    sentence.className = state.wrong ? "wrong" : "";
    if (focus) moves.querySelector("button")?.focus();
  }
  host.append(element("div", { class: "bar" },
    button("Undo", "undo the last move", () => { if (told.pop() !== undefined) way.pop(); hinted = false; show(); }),
    button("Begin anew", "begin anew", () => { anew(); show(); }),
    button("Hint", "mark a good move", () => { hinted = true; show(); }),
    button("Give up", "show a shortest way", () => {
      anew();
      for (let next = closest(); next && !here().wrong; next = closest()) go(next);
      show();
      if (par === null) sentence.textContent = whole ? `There is no way: all ${states.length} states are right.` : `None was found in ${states.length} states; there are more.`;
    })), sentence, moves, beside, list);
  show();
}
