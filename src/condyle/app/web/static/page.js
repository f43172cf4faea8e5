// Every page: theme, keys, and whatever of things, forms, uploads and jobs it has.

import { cards } from "./things.js";
import { forms } from "./forms.js";
import { drop } from "./upload.js";
import { jobs, oneJob } from "./jobs.js";
import { runCurves } from "./curves.js";

const root = document.documentElement;

function theme() {
  try {
    const kept = localStorage.getItem("theme");
    if (kept) root.dataset.theme = kept;
  } catch { /* a browser that keeps nothing */ }
  document.getElementById("theme").addEventListener("click", () => {
    const dark = root.dataset.theme
      ? root.dataset.theme === "dark"
      : matchMedia("(prefers-color-scheme: dark)").matches;
    root.dataset.theme = dark ? "light" : "dark";
    try { localStorage.setItem("theme", root.dataset.theme); } catch { /* as above */ }
  });
}

const PANELS = { d: "data", t: "train", s: "segment", r: "review", c: "compare", f: "features", u: "runs", j: "jobs", m: "machine" };

function keys() {
  const dialog = document.getElementById("keys");
  document.getElementById("help").addEventListener("click", () => dialog.showModal());
  let goes = false;
  addEventListener("keydown", (event) => {
    if (event.target.closest("input, select, textarea") || event.ctrlKey || event.metaKey || event.altKey) return;
    if (event.key === "?") dialog.open ? dialog.close() : dialog.showModal();
    else if (goes && PANELS[event.key]) { event.preventDefault(); location.href = `/${PANELS[event.key]}`; }
    goes = event.key === "g";
  }, { capture: true });
}

function webgl() {
  const place = document.getElementById("webgl");
  if (!place) return;
  const works = Boolean(document.createElement("canvas").getContext("webgl2"));
  place.textContent = works
    ? "This browser draws volumes (WebGL2)."
    : "This browser cannot draw volumes: WebGL2 is off or missing. Slices are drawn by the server.";
}

theme();
keys();
webgl();
cards();
forms();
drop();
jobs();
oneJob();
runCurves();
root.dataset.ready = "yes";
