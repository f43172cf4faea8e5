// A scan with its labels, and what one thinks of each structure.

import { ask, made, say, send } from "./ask.js";
import { toIndex, toMm, viewer } from "./viewer.js";

const AXIS = { sagittal: 0, coronal: 1, axial: 2 };
const WINDOWS = { bone: [-450, 1050], soft: [-160, 240], lung: [-1350, 150], auto: null };
const KEYS = { z: "axial", x: "coronal", c: "sagittal", v: "all" };
const asked = new URLSearchParams(location.search);
const by = (id) => document.getElementById(id);
const look = by("look");
const at = { cases: [], number: 0, structures: [], current: 0, grid: null, plane: "all", view: null, hidden: false };

async function begin() {
  at.view = await viewer(by("canvas"), by("drawn"), { place });
  look.dataset.viewer = at.view.kind;
  const labels = asked.get("labels") || asked.get("dataset");
  at.source = labels;
  if (labels) at.cases = await ask(`/api/review/${labels}`);
  else at.cases = [{ case: "", scan: asked.get("scan"), scan_case: asked.get("case") || "", labels: null, verdicts: {}, doubts: [] }];
  by("case").replaceChildren(...at.cases.map((one, n) => made("option", { value: n }, one.case || "scan")));
  const wanted = at.cases.findIndex((one) => one.case === asked.get("case"));
  await open(Math.max(0, wanted));
}

async function open(number) {
  at.number = number;
  const one = at.cases[number];
  if (!one) { look.dataset.state = "empty"; say("There is nothing to look at here."); return; }
  look.dataset.state = "loading";
  look.dataset.case = one.case;
  by("case").value = number;
  const scan = one.scan && `/api/volumes/${one.scan}.nii.gz?case=${encodeURIComponent(one.scan_case)}`;
  const labels = one.labels && `/api/volumes/${one.labels}.nii.gz?labels=true&case=${encodeURIComponent(one.labels_case)}`;
  const [grid, structures] = await Promise.all([
    ask(one.scan ? `/api/scans/${one.scan}?case=${encodeURIComponent(one.scan_case)}` : `/api/scans/${one.labels}?labels=true&case=${encodeURIComponent(one.labels_case)}`),
    one.labels ? ask(`/api/labels/${one.labels}?case=${encodeURIComponent(one.labels_case)}`) : [],
  ]);
  at.grid = grid;
  by("reduced").textContent = grid.step > 1 ? `Shown with every ${grid.step}th voxel along each axis; the slices of "Save picture" and results have all.` : "";
  at.structures = structures.map((each) => ({ ...each, shown: true }));
  at.current = 0;
  await at.view.show(scan, labels, grid);
  list();
  at.view.structures(at.structures);
  doubts(one);
  if (at.structures.length) at.view.go(at.structures[0].middle);
  else at.view.go(toMm(grid, grid.shape.map((n) => (n - 1) / 2)));
  look.dataset.state = "ready";
}

function place(mm) {
  if (!at.grid) return;
  const index = toIndex(at.grid, mm).map(Math.round);
  at.index = index;
  look.dataset.index = index.join(" ");
  const words = mm.map((x, axis) => `${x >= 0 ? "RAS"[axis] : "LPI"[axis]} ${Math.abs(x).toFixed(1)}`);
  by("where").textContent = `${words.join(", ")} mm; slices: sagittal ${index[0]}, coronal ${index[1]}, axial ${index[2]}`;
  const axis = AXIS[at.plane] ?? 2;
  by("slice").value = index[axis];
  by("slice").max = at.grid.shape[axis] - 1;
  requestAnimationFrame(scale);
}

function scale() {
  const bar = by("scale");
  const pixels = at.grid && at.view.scale(at.grid);
  bar.hidden = !pixels;
  if (!pixels) return;
  const cm = [20, 10, 5, 2, 1].find((n) => n * 10 * pixels < by("canvas").parentElement.clientWidth / 3) ?? 1;
  bar.style.width = `${cm * 10 * pixels}px`;
  bar.textContent = `${cm} cm`;
}

addEventListener("resize", () => requestAnimationFrame(scale));

function toSlice(axis, number) {
  const index = toIndex(at.grid, at.view.at());
  index[axis] = Math.min(at.grid.shape[axis] - 1, Math.max(0, number));
  at.view.go(toMm(at.grid, index));
}

function plane(name) {
  at.plane = name;
  by("plane").value = name;
  look.dataset.plane = name;
  at.view.plane(name);
  if (at.index) place(at.view.at());
}

function list() {
  const one = at.cases[at.number];
  by("structures").replaceChildren(...at.structures.map((each, n) => {
    const kept = one.verdicts[each.name] || { verdict: "", note: "" };
    return made("li", { "aria-current": String(n === at.current), "data-name": each.name, "data-shown": String(each.shown) },
      made("input", { type: "checkbox", checked: each.shown, "aria-label": `show ${each.name}`, onchange: () => toggle(n) }),
      colour(each.colour),
      made("button", { type: "button", class: "name", title: "go there", onclick: () => choose(n) }, each.name),
      made("small", {}, `${each.cm3} cm³`),
      made("span", { class: "verdict", "data-verdict": kept.verdict }, { accepted: "✓", rejected: "✗" }[kept.verdict] || "·"));
  }));
  const current = at.structures[at.current];
  by("note").value = current ? (one.verdicts[current.name] || {}).note || "" : "";
  const done = at.cases.reduce((sum, each) => sum + Object.values(each.verdicts).filter((v) => v.verdict).length, 0);
  by("count").textContent = at.source && !asked.get("dataset") ? `${done} judged` : "";
  for (const id of ["accept", "reject", "note"]) by(id).disabled = !current || Boolean(asked.get("dataset"));
}

function colour(rgb) {
  const box = made("span", { class: "colour" });
  box.style.backgroundColor = `rgb(${rgb.join(",")})`;
  return box;
}

function show() {
  at.view.structures(at.structures.map((each) => ({ ...each, shown: each.shown && !at.hidden })));
  list();
}

function toggle(n) { at.structures[n].shown = !at.structures[n].shown; show(); }

function alone(n) {
  const only = at.structures.every((each, k) => each.shown === (k === n));
  at.structures.forEach((each, k) => { each.shown = only || k === n; });
  show();
}

function choose(n) {
  at.current = n;
  list();
  if (at.structures[n]) at.view.go(at.structures[n].middle);
}

function doubts(one) {
  const place_ = by("doubts");
  place_.hidden = !one.doubts.length;
  place_.replaceChildren(...one.doubts.map((doubt) => made("button", {
    type: "button", onclick: () => { const found = /\d+/.exec(doubt.look_at); if (found) toSlice(2, Number(found[0])); },
  }, `${doubt.structure}: ${doubt.sentence}${doubt.look_at ? ` (look at slices ${doubt.look_at})` : ""}`)));
}

async function judge(verdict) {
  const one = at.cases[at.number];
  const current = at.structures[at.current];
  if (!current || asked.get("dataset")) return;
  const kept = { verdict, note: by("note").value };
  try {
    await send(`/api/review/${at.source}`, { case: one.case, structure: current.name, ...kept }, "PUT");
  } catch (error) { say(error.message); return; }
  one.verdicts[current.name] = kept;
  if (at.current + 1 < at.structures.length) choose(at.current + 1);
  else if (at.number + 1 < at.cases.length) await open(at.number + 1);
  else list();
  look.dataset.judged = Number(look.dataset.judged || 0) + 1;
}

const turn = (n, count) => (n + count) % count;

let busy = Promise.resolve();
function inTurn(work) { busy = busy.then(work).catch((error) => say(error.message)); }

addEventListener("keydown", (event) => {
  if (event.defaultPrevented || event.ctrlKey || event.metaKey || event.altKey) return;
  if (event.target.closest?.("input:not([type=checkbox]):not([type=range]), select, dialog")) {
    if (event.key === "Escape" || (event.key === "Enter" && event.target.id === "note")) event.target.blur();
    return;
  }
  const key = event.key;
  const number = /^Digit([1-9])$/.exec(event.code);
  const step = { ArrowUp: 1, ArrowRight: 1, PageUp: 5, ArrowDown: -1, ArrowLeft: -1, PageDown: -5 }[key];
  if (step && at.grid) { const axis = AXIS[at.plane] ?? 2; toSlice(axis, at.index[axis] + step); }
  else if (number && at.structures[number[1] - 1]) (event.shiftKey ? alone : toggle)(number[1] - 1);
  else if (KEYS[key]) plane(KEYS[key]);
  else if (key === " ") { at.hidden = !at.hidden; show(); }
  else if (key === "o") by("outline").click();
  else if (key === "j") choose(turn(at.current + 1, at.structures.length || 1));
  else if (key === "k") choose(turn(at.current - 1, at.structures.length || 1));
  else if (key === "a") inTurn(() => judge("accepted"));
  else if (key === "r") inTurn(() => judge("rejected"));
  else if (key === "n") inTurn(() => open(turn(at.number + 1, at.cases.length)));
  else if (key === "p") inTurn(() => open(turn(at.number - 1, at.cases.length)));
  else return;
  event.preventDefault();
});

by("case").addEventListener("change", (event) => inTurn(() => open(Number(event.target.value))));
by("plane").addEventListener("change", (event) => plane(event.target.value));
by("slice").addEventListener("change", (event) => toSlice(AXIS[at.plane] ?? 2, Number(event.target.value)));
by("window").addEventListener("change", (event) => at.view.setWindow(WINDOWS[event.target.value]));
by("opacity").addEventListener("input", (event) => at.view.opacity(Number(event.target.value)));
by("outline").addEventListener("change", (event) => at.view.outline(event.target.checked));
by("accept").addEventListener("click", () => inTurn(() => judge("accepted")));
by("reject").addEventListener("click", () => inTurn(() => judge("rejected")));
by("shot").addEventListener("click", () => at.view.picture(`${look.dataset.case || "scan"}.png`));
by("measure").addEventListener("click", (event) => {
  const on = event.target.getAttribute("aria-pressed") !== "true";
  event.target.setAttribute("aria-pressed", String(on));
  at.view.measure(on);
  say(on ? "Drag with the right button to measure a length." : "Drag with the right button to set the window.");
});
by("drawn").addEventListener("wheel", (event) => {
  event.preventDefault();
  const axis = AXIS[at.plane] ?? 2;
  toSlice(axis, at.index[axis] + (event.deltaY < 0 ? 1 : -1));
});
by("note").addEventListener("change", async () => {
  const one = at.cases[at.number];
  const current = at.structures[at.current];
  const kept = one && current && one.verdicts[current.name];
  if (kept?.verdict) { kept.note = by("note").value; await send(`/api/review/${at.source}`, { case: one.case, structure: current.name, ...kept }, "PUT"); }
});

begin().catch((error) => { look.dataset.state = "failed"; say(error.message); });
