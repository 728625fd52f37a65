// Builds the replay in every element that waits for it: a notebook may show one output twice.
for (const host of document.querySelectorAll(`[data-replay="${data.uid}"]:not([data-ready])`)) {
  host.dataset.ready = "yes";
  const views = (window.labkitReplays = (window.labkitReplays || 0) + 1);
  const uid = `${data.uid}-${views}`;
  host.innerHTML = `
    <div class="picture" tabindex="0" role="group" aria-label="the run">${data.svg.replaceAll(data.uid, uid)}</div>
    <div style="display:flex;gap:.5em;align-items:center;margin:.4em 0">
      <button type="button" class="back" aria-label="to the event before" title="event before">❘◀</button>
      <button type="button" class="play" aria-label="play">▶</button>
      <button type="button" class="next" aria-label="to the next event" title="next event">▶❘</button>
      <input type="range" style="flex:1;min-width:8em" aria-label="time in the run">
      <output style="min-width:4.5em;text-align:right;font-variant-numeric:tabular-nums"></output>
    </div>
    <div class="now" style="display:flex;flex-wrap:wrap;gap:.3em 1.1em"></div>
    <div class="caption" style="min-height:1.4em;opacity:.85"></div>`;
  for (const button of host.querySelectorAll("button")) {
    button.style.cssText = "font:inherit;min-width:2.4em;padding:.15em .4em;cursor:pointer;" +
      "color:inherit;background:transparent;border:1px solid currentColor;border-radius:3px";
  }
  const one = (selector) => host.querySelector(selector);
  const picture = one(".picture svg"), time = one(".picture .time");
  const slider = one("input"), output = one("output"), play = one(".play");
  const span = data.until - data.since;
  const { left, right, bottom } = Object.fromEntries(
    ["left", "right", "bottom"].map((name) => [name, Number(picture.dataset[name])]));
  const svgElement = (name, attributes) => {
    const element = document.createElementNS("http://www.w3.org/2000/svg", name);
    for (const [key, value] of Object.entries(attributes)) element.setAttribute(key, value);
    return element;
  };

  // The whole run is drawn already; what lies in the future is cut off.
  const height = picture.viewBox.baseVal.height;
  const clip = svgElement("clipPath", { id: `${uid}-clip` });
  const past = svgElement("rect", { x: 0, y: 0, width: right, height });
  clip.append(past);
  picture.append(clip);
  time.setAttribute("clip-path", `url(#${uid}-clip)`);
  const head = svgElement("path", { stroke: "currentColor", "stroke-width": 1.5 });
  picture.append(head);

  const chips = Object.keys(data.now).map((node) => {
    const item = document.createElement("span");
    item.append(`${node} `);
    const chip = item.appendChild(document.createElement("b"));
    chip.style.cssText = "display:inline-block;min-width:1.7em;text-align:center;border-radius:2px;" +
      "border:1px solid currentColor";
    one(".now").append(item);
    return { node, item, chip };
  });

  let now = data.until, playing = null;
  function show(t) {
    now = Math.min(Math.max(t, data.since), data.until);
    const x = left + ((now - data.since) / span) * (right - left);
    past.setAttribute("width", x);
    head.setAttribute("d", `M${x} 16V${bottom}`);
    slider.value = now;
    output.textContent = `${now.toFixed(2)} s`;
    slider.setAttribute("aria-valuetext", `${now.toFixed(1)} seconds`);
    for (const { node, item, chip } of chips) {
      const said = data.now[node].findLast(([start, end]) => start <= now && (now < end || end >= data.until));
      const [, , number, word] = said || [0, 0, null, "none"];
      const [colour, ink] = data.colours[number] || ["transparent", "inherit"];
      chip.textContent = number ?? "–";
      chip.style.background = word === "both" ? colour : "transparent";
      chip.style.color = word === "both" ? ink : "inherit";
      chip.style.borderStyle = word === "zookeeper" ? "dashed" : "solid";
      chip.style.outline = word === "node" ? "2px solid #E2244F" : "none";
      item.title = { both: "answers it and holds it", zookeeper: "ZooKeeper holds it, no answer",
        node: "answers it, does not hold it", none: "no number" }[word];
      item.dataset.word = word;
    }
    const last = data.captions.findLast(([at]) => at <= now + 1e-6);
    one(".caption").textContent = last ? `${last[0].toFixed(2)} s: ${last[1]}` : "";
  }

  function stop() {
    cancelAnimationFrame(playing);
    playing = null;
    play.textContent = "▶";
    play.setAttribute("aria-label", "play");
  }
  function start() {
    const speed = Math.max(1, span / 20); // nobody watches longer than this
    let from = now >= data.until ? data.since : now, began = null;
    play.textContent = "❚❚";
    play.setAttribute("aria-label", "pause");
    const frame = (clock) => {
      began ??= clock;
      show(from + ((clock - began) / 1000) * speed);
      if (now >= data.until || !host.isConnected) stop();
      else playing = requestAnimationFrame(frame);
    };
    playing = requestAnimationFrame(frame);
  }
  const toggle = () => (playing === null ? start() : stop());
  const jump = (t) => { stop(); show(t ?? now); };

  Object.assign(slider, { min: data.since, max: data.until, step: "any" });
  slider.addEventListener("input", () => { stop(); show(Number(slider.value)); });
  slider.addEventListener("keydown", (event) => {
    const steps = { ArrowLeft: -1, ArrowDown: -1, ArrowRight: 1, ArrowUp: 1, PageDown: -10, PageUp: 10 };
    if (event.key === " ") toggle();
    else if (event.key in steps) jump(now + (steps[event.key] * span) / 100);
    else return;
    event.preventDefault();
  });
  play.addEventListener("click", toggle);
  one(".back").addEventListener("click", () =>
    jump(data.captions.findLast(([t]) => t < now - 1e-3)?.[0] ?? data.since));
  one(".next").addEventListener("click", () =>
    jump(data.captions.find(([t]) => t > now + 1e-3)?.[0] ?? data.until));
  show(data.until);
}
