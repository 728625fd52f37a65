// A run again, as it happened, under a slider.
// @ts-check

/**
 * @typedef {{uid: string, since: number, until: number, svg: string, captions: [number, string][],
 *   colours: Record<string, [ground: string, ink: string]>,
 *   now: Record<string, [start: number, end: number, number: number, word: keyof WORDS][]>}} Run
 * @typedef {typeof WORD} WORDS
 */
const WORD = { both: "answers it and holds it", zookeeper: "ZooKeeper holds it, no answer",
  node: "answers it, does not hold it", none: "no number" };

/** @param {Run} run @param {HTMLElement} host */
function replay({ uid, since, until, svg, captions, colours, now }, host) {
  const own = `${uid}-${Math.random().toString(36).slice(2, 9)}`;
  const frame = element("div", { style: "max-width:1100px" });
  frame.className = "run";
  frame.innerHTML = svg.replaceAll(uid, own);
  const drawn = /** @type {SVGSVGElement} */ (frame.firstElementChild);
  const [left, right, bottom] = ["left", "right", "bottom"].map((name) => Number(drawn.dataset[name]));
  const { width, height } = drawn.viewBox.baseVal;
  // The whole run is drawn already; what lies in the future is faint.
  drawn.insertAdjacentHTML("beforeend", `<mask id="${own}-past" maskUnits="userSpaceOnUse" x="0" y="0" width="${width}" height="${height}">
    <rect width="${width}" height="${height}" fill="#fff" opacity=".2"/><rect class="past" height="${height}" fill="#fff"/></mask>
    <path class="head" stroke="currentColor" stroke-width="1.5"/>`);
  drawn.querySelector(".time")?.setAttribute("mask", `url(#${own}-past)`);
  const [past, head] = [".past", ".head"].map((part) => drawn.querySelector(part));
  const chips = Object.entries(now).map(([node, said]) => {
    const chip = element("b", { style: "display:inline-block;min-width:1.7em;text-align:center;border-radius:2px;border:1px solid currentColor" });
    return { said, chip, item: element("span", {}, `${node} `, chip) };
  });
  const clock = element("output", { style: "min-width:4.5em;font-variant-numeric:tabular-nums" });
  const caption = element("div", { class: "caption", style: "min-height:2.8em;flex:1 1 16em" });
  const told = (/** @type {number} */ t) => captions.findLastIndex(([at]) => at <= t + 1e-6);

  /** @param {number} t */
  function show(t) {
    const x = left + ((t - since) / (until - since)) * (right - left);
    past?.setAttribute("width", String(x));
    head?.setAttribute("d", `M${x} 16V${bottom}`);
    clock.textContent = `${t.toFixed(2)} s`;
    for (const { said, item, chip } of chips) {
      const [, , number, word] = said.findLast(([start, end]) => start <= t && (t < end || end >= until)) ?? [0, 0, null, "none"];
      const [ground, ink] = (word === "both" && colours[String(number)]) || ["transparent", "inherit"];
      chip.textContent = String(number ?? "–");
      Object.assign(chip.style, { background: ground, color: ink, borderStyle: word === "zookeeper" ? "dashed" : "solid",
        outline: word === "node" ? "2px solid #E2244F" : "none" });
      item.title = WORD[/** @type {keyof WORDS} */ (word)];
      item.dataset.word = word;
    }
    const [at, words] = captions[told(t)] ?? [0, ""];
    caption.textContent = words && `${at.toFixed(2)} s: ${words}`;
    return `${t.toFixed(1)} seconds`;
  }

  // A caption stands as long as it takes to read it; where nothing happens, nobody waits.
  const { slider, buttons } = walk(host, "time in the run", "event", [since, ...captions.map(([at]) => at)], until, (t) => {
    const [at, words] = captions[told(t)] ?? [since, ""];
    const gap = (captions[told(t) + 1]?.[0] ?? until) - at;
    return gap / Math.max(0.7 + words.length / 25, Math.min(gap, 4));
  }, show);
  // The thumb, 16 pixels wide, is under the head.
  slider.style.cssText = `display:block;margin:0 0 0 calc(${(100 * left) / width}% - 8px);width:calc(${(100 * (right - left)) / width}% + 16px)`;
  frame.append(slider);
  host.replaceChildren(element("div", { class: "picture", style: "overflow-x:auto", tabindex: 0, role: "group", "aria-label": "the run" }, frame),
    element("div", { style: "display:flex;flex-wrap:wrap;gap:.5em;align-items:center;margin:.4em 0" }, ...buttons, clock, caption),
    element("div", { class: "now", style: "display:flex;flex-wrap:wrap;gap:.3em 1.1em" }, ...chips.map(({ item }) => item)));
}
