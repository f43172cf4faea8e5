// Curves of a training as it goes on: loss, Dice and IoU of training and validation.

import { ask } from "./ask.js";

const BEAT = 2000;
const STYLES = ["#0a6ebd", "#c2571a", "#1d8a50", "#9b4dca", "#b8860b", "#555f6e", "#d1477a", "#3aa6a6"];

export async function runCurves() {
  const place = document.querySelector("#live[data-run]");
  if (place) await draw(place.dataset.run);
}

export async function follow(find, isOver) {
  let run = null;
  const look = async () => {
    try {
      run = run || await find();
      if (run) await draw(run);
    } catch { /* not begun */ }
    if (!isOver()) setTimeout(look, BEAT);
    else if (run) setTimeout(() => draw(run), BEAT);
  };
  look();
}

const drawn = new Map();

async function draw(run) {
  const rows = await ask(`/api/history/${run}`);
  const live = document.getElementById("live");
  if (!rows.length) return;
  live.hidden = false;
  live.dataset.epochs = rows.length;
  const names = Object.keys(rows[0]).filter((name) => rows.some((row) => typeof row[name] === "number"));
  const losses = names.filter((name) => name === "loss" || name.endsWith("_loss"));
  const scores = names.filter((name) => /dice|iou|f1/i.test(name)).slice(0, STYLES.length);
  await plot("plot-loss", rows, losses);
  await plot("plot-dice", rows, scores);
}

async function plot(id, rows, names) {
  if (!names.length) return;
  let uPlot;
  try {
    ({ default: uPlot } = await import("./vendor/uplot.js"));
  } catch {
    document.getElementById(id).textContent = "The curves need uPlot, which is not built here.";
    return;
  }
  const place = document.getElementById(id);
  const data = [rows.map((row, n) => row.epoch ?? n), ...names.map((name) => rows.map((row) => row[name] ?? null))];
  const old = drawn.get(id);
  if (old && old.names.join() === names.join()) { old.plot.setData(data); return; }
  if (old) old.plot.destroy();
  const ink = getComputedStyle(document.body).color;
  const plot = new uPlot({
    width: Math.max(280, place.clientWidth), height: 260,
    scales: { x: { time: false } },
    axes: [{ label: "epoch", stroke: ink }, { stroke: ink }],
    series: [{ label: "epoch" }, ...names.map((name, n) => ({
      label: name.replaceAll("_", " "), stroke: STYLES[n % STYLES.length], width: 2, spanGaps: true,
      dash: name.startsWith("val") || name.includes("validation") ? [6, 4] : undefined,
    }))],
  }, data, place);
  drawn.set(id, { plot, names });
}
