// What a replay and a player have in common: elements, and the way through a run from end to end.
// @ts-check

/** @param {string} tag @param {Record<string, string | number>} [attributes] @param {(string | Node)[]} children */
function element(tag, attributes = {}, ...children) {
  const made = document.createElement(tag);
  for (const [key, value] of Object.entries(attributes)) made.setAttribute(key, String(value));
  made.append(...children);
  return made;
}

/** @param {string} text @param {string} label @param {() => void} press */
function button(text, label, press) {
  const made = /** @type {HTMLButtonElement} */ (element("button", { type: "button", "aria-label": label, title: label,
    style: "font:inherit;color:inherit;background:transparent;border:1px solid currentColor;border-radius:3px;padding:.2em .6em;min-height:28px;min-width:2.4em;cursor:pointer" }, text));
  made.addEventListener("click", press);
  return made;
}

/** Build in each element that waits: a notebook may show one output twice. @param {string} selector @param {(host: HTMLElement) => void} build */
function each(selector, build) {
  for (const host of /** @type {NodeListOf<HTMLElement>} */ (document.querySelectorAll(`${selector}:not([data-ready])`))) {
    host.dataset.ready = "yes";
    build(host);
  }
}

/**
 * A slider, buttons and keys to go by, and what plays. Begins at the first of `stops`.
 * `pace`: how far a second of the reader's goes from there. `show` returns the place in words.
 * @param {HTMLElement} host @param {string} name @param {string} stop what a stop is @param {number[]} stops @param {number} end
 * @param {(at: number) => number} pace @param {(at: number) => string} show
 */
function walk(host, name, stop, stops, end, pace, show) {
  const slider = /** @type {HTMLInputElement} */ (element("input", { type: "range", min: stops[0], max: end, step: "any", "aria-label": name }));
  let now = stops[0], playing = 0;
  const before = () => stops.findLast((t) => t < now - 1e-3) ?? stops[0];
  const after = () => stops.find((t) => t > now + 1e-3) ?? end;
  const say = (/** @type {boolean} */ on) => {
    play.textContent = on ? "❚❚" : "▶";
    play.title = play.ariaLabel = on ? "pause" : "play";
  };
  /** @param {number} to */
  function go(to) {
    now = Math.min(Math.max(to, stops[0]), end);
    slider.value = String(now);
    slider.setAttribute("aria-valuetext", show(now));
  }
  function halt() {
    cancelAnimationFrame(playing);
    playing = 0;
    say(false);
  }
  function toggle() {
    if (playing) return halt();
    if (now >= end) go(stops[0]);
    say(true);
    let last = performance.now();
    playing = requestAnimationFrame(function frame(clock) {
      go(now + (Math.max(clock - last, 0) / 1000) * pace(now));
      last = clock;
      if (now >= end || !host.isConnected) halt();
      else playing = requestAnimationFrame(frame);
    });
  }
  const jump = (/** @type {number} */ to) => { halt(); go(to); };
  const play = button("▶", "play", toggle);
  slider.addEventListener("input", () => jump(Number(slider.value)));
  host.addEventListener("keydown", (event) => {
    const to = { ArrowLeft: before, ArrowDown: before, ArrowRight: after, ArrowUp: after, Home: () => stops[0], End: () => end }[event.key];
    if (to) jump(to());
    else if (event.key === " " && !(event.target instanceof HTMLButtonElement)) toggle();
    else return;
    event.preventDefault();
  });
  go(now);
  return { slider, buttons: [button("❘◀", `${stop} before`, () => jump(before())), play, button("▶❘", `next ${stop}`, () => jump(after()))] };
}
