// Builds the player, or the puzzle, in every element that waits for it.
document.getElementById("labkit-player") || document.head.append(Object.assign(document.createElement("style"), { id: "labkit-player", textContent: css }));
for (const host of document.querySelectorAll(`[data-player="${uid}"]:not([data-ready])`)) {
  host.dataset.ready = "yes";
  const element = (name, text, attributes = {}) => {
    const made = document.createElement(name);
    if (text !== undefined) made.textContent = text;
    for (const [key, value] of Object.entries(attributes)) made.setAttribute(key, value);
    return made;
  };
  const button = (text, label, press) => {
    const made = element("button", text, { type: "button", "aria-label": label, title: label });
    made.addEventListener("click", press);
    return made;
  };
  const table = (caption, heads, rows) => {
    const made = element("table");
    made.append(element("caption", caption, { style: "text-align:left;font-weight:bold" }));
    const head = made.createTHead().insertRow();
    for (const word of heads) head.append(element("th", word, { scope: "col" }));
    const body = made.createTBody();
    for (const row of rows) {
      const line = body.insertRow();
      if (row.wrong) line.className = "wrong";
      for (const cell of row.cells) line.insertCell().textContent = cell;
    }
    return made;
  };
  const said = (value) => (value === null || value === undefined ? "nothing" : String(value));

  // The tree, and what each actor believes against what is true.
  function sides(moment) {
    const znodes = moment.tree.map((z) => ({
      cells: [z.path, z.data, z.owner ?? "", String(z.version)],
    }));
    const beliefs = moment.actors.flatMap((actor) => {
      const keys = Object.keys({ ...actor.believes, ...actor.truth });
      const rows = keys.map((key) => ({
        wrong: actor.differs.includes(key),
        cells: [actor.name, `${key.replaceAll("_", " ")}: ${said(actor.believes[key])}`,
          key in actor.truth ? (actor.differs.includes(key) ? `≠ ${said(actor.truth[key])}` : "so it is") : ""],
      }));
      if (!actor.alive) rows.push({ wrong: true, cells: [actor.name, "", "its session has ended"] });
      return rows.length ? rows : [{ cells: [actor.name, actor.waits || "–", ""] }];
    });
    return [table("The tree", ["znode", "data", "owner", "version"], znodes),
      table("Belief and truth", ["who", "believes", "truth"], beliefs)];
  }

  function play(moments) {
    const steps = [...host.querySelectorAll(".step")], lines = [...host.querySelectorAll(".said li")];
    const bar = element("div", undefined, { class: "bar", role: "group", "aria-label": "steps" });
    const slider = element("input", undefined, { type: "range", min: 1, max: moments.length, step: 1, "aria-label": "step" });
    const sentence = element("div", "", { "aria-live": "polite", style: "min-height:2.8em" });
    const beside = element("div", undefined, { class: "sides" });
    let now = moments.length - 1, timer = null;
    const stop = () => { clearInterval(timer); timer = null; start.textContent = "▶"; start.setAttribute("aria-label", "play"); };
    function show(at) {
      now = Math.min(Math.max(at, 0), moments.length - 1);
      slider.value = now + 1;
      slider.setAttribute("aria-valuetext", `step ${now + 1} of ${moments.length}`);
      for (const step of steps) step.classList.toggle("later", Number(step.dataset.step) > now);
      lines.forEach((line, index) => line.classList.toggle("now", index === now));
      sentence.textContent = `${now + 1}. ${moments[now].sentence}`;
      beside.replaceChildren(...sides(moments[now]));
    }
    const jump = (at) => { stop(); show(at); };
    const start = button("▶", "play", () => {
      if (timer !== null) return stop();
      if (now === moments.length - 1) show(0);
      start.textContent = "❚❚";
      start.setAttribute("aria-label", "pause");
      timer = setInterval(() => (now < moments.length - 1 && host.isConnected ? show(now + 1) : stop()), 1800);
    });
    bar.append(button("❘◀", "to the first step", () => jump(0)), button("◀", "one step back", () => jump(now - 1)),
      start, button("▶❘", "one step on", () => jump(now + 1)), slider);
    slider.addEventListener("input", () => jump(Number(slider.value) - 1));
    host.addEventListener("keydown", (event) => {
      const to = { ArrowLeft: now - 1, ArrowRight: now + 1, Home: 0, End: moments.length - 1 }[event.key];
      if (to === undefined) return;
      jump(to);
      event.preventDefault();
    });
    host.insertBefore(bar, host.querySelector(".figure"));
    bar.after(sentence);
    host.querySelector(".figure").after(beside);
    show(0);
  }

  function puzzle(states) {
    const way = [0], told = [];
    const sentence = element("div", "", { "aria-live": "polite", style: "min-height:1.4em" });
    const moves = element("div", undefined, { class: "moves", role: "group", "aria-label": "what happens next" });
    const beside = element("div", undefined, { class: "sides" });
    const list = element("ol", undefined, { class: "said" });
    const bar = element("div", undefined, { class: "bar" });
    let hinted = false;
    const here = () => states[way.at(-1)];
    const closest = () => here().choices.filter((c) => c.to !== null && states[c.to].far !== null)
      .sort((a, b) => states[a.to].far - states[b.to].far)[0];
    const go = (choice) => { way.push(choice.to); told.push(choice.sentence); hinted = false; show(true); };
    function show(focus) {
      const state = here();
      list.replaceChildren(...told.map((text) => element("li", text)));
      beside.replaceChildren(...sides(state));
      const hint = hinted ? closest() : null;
      moves.replaceChildren(...(state.wrong ? [] : state.choices).map((choice) => {
        const made = button((choice === hint ? "→ " : "") + choice.sentence, choice.sentence, () => go(choice));
        if (choice.fault) made.className = "fault";
        if (choice.to === null) { made.disabled = true; made.title = "beyond what was explored"; }
        return made;
      }));
      const count = `${told.length} move${told.length === 1 ? "" : "s"}`;
      if (state.wrong) {
        sentence.textContent = `Broken in ${count}` + (told.length === data.par ? ": that is par. " : `; ${data.par} are enough. `) + state.wrong + ".";
      } else if (!state.choices.length) sentence.textContent = `${count}. Nothing more can happen, and all is well. Undo, or begin anew.`;
      else if (hinted && !hint) sentence.textContent = data.par === null ? "Nothing breaks it: every state is right." : "From here it can't be broken any more: undo.";
      else sentence.textContent = `${count}. What happens next?`;
      sentence.className = state.wrong ? "wrong" : "";
      if (focus) moves.querySelector("button")?.focus();
    }
    bar.append(button("Undo", "undo the last move", () => { if (told.length) { way.pop(); told.pop(); hinted = false; show(); } }),
      button("Begin anew", "begin anew", () => { way.length = 1; told.length = 0; hinted = false; show(); }),
      button("Hint", "mark a good move", () => { hinted = true; show(); }),
      button("Give up", "show a shortest way", () => {
        way.length = 1; told.length = 0;
        for (let next = closest(); next && !here().wrong; next = closest()) { way.push(next.to); told.push(next.sentence); }
        show();
        if (data.par === null) sentence.textContent = data.whole ? `There is no way: all ${states.length} states are right.` : `None was found in ${states.length} states; there are more.`;
      }));
    host.append(bar, sentence, moves, beside, list);
    show();
  }

  if (data.kind === "player") play(data.moments);
  else {
    const bytes = Uint8Array.from(atob(data.packed), (c) => c.charCodeAt(0));
    new Response(new Blob([bytes]).stream().pipeThrough(new DecompressionStream("gzip"))).json().then(puzzle);
  }
}
