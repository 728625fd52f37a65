// What a reader of the site predicts: kept in the browser, and shown beside what was true.
// @ts-check

let kept = /** @type {Storage | null} */ (null);
try { kept = localStorage; } catch { /* Where a page may keep nothing, answers go with it. */ }
for (const form of /** @type {NodeListOf<HTMLFormElement>} */ (document.querySelectorAll("form.guess"))) {
  const key = `labkit: ${form.dataset.key}`, noted = form.querySelector("output"), look = form.querySelector("button");
  const fields = /** @type {NodeListOf<HTMLInputElement>} */ (form.querySelectorAll("[name]"));
  const reveals = /** @type {HTMLDetailsElement[]} */ ([...document.querySelectorAll(`details[data-guess="${form.id}"]`)]);
  const lines = reveals.map(() => document.createElement("p"));
  reveals.forEach((reveal, at) => reveal.querySelector("summary")?.after(lines[at]));
  function follow() {
    const values = new FormData(form).getAll("answer").map(String);
    const whole = form.checkValidity() && values.length > 0 && values.every(Boolean) && new Set(values).size === values.length;
    const text = whole ? `${values.join(", then ")} ${form.dataset.unit}`.trim() : "";
    if (noted) noted.textContent = whole ? `✓ noted: ${text}` : "";
    if (look) look.hidden = !whole || !reveals.length;
    for (const line of lines) line.textContent = whole ? `You said: ${text}.` : "";
    return values;
  }
  /** @type {string[]} */
  const before = JSON.parse(kept?.getItem(key) ?? "[]");
  fields.forEach((field, at) => (field.type === "radio" ? (field.checked = before.includes(field.value)) : (field.value = before[at] ?? "")));
  form.addEventListener("input", () => kept?.setItem(key, JSON.stringify(follow())));
  form.addEventListener("submit", (event) => {
    event.preventDefault();
    for (const reveal of reveals) reveal.open = true;
    reveals[0]?.querySelector("summary")?.focus();
  });
  follow();
}
