// Jobs: the list, and one of them as it goes on.

import { ask, made, say } from "./ask.js";
import { follow } from "./curves.js";

const OVER = ["done", "failed", "cancelled", "stopped"];
const BEAT = 1500;

export function jobs() {
  const place = document.getElementById("jobs");
  if (!place) return;
  const verbs = (place.dataset.verbs || "").split(" ").filter(Boolean);
  const show = async () => {
    try {
      const found = (await ask("/api/jobs")).filter((job) => !verbs.length || verbs.includes(job.verb));
      place.replaceChildren(found.length ? table(found) : made("p", { class: "note" }, "None yet."));
      place.dataset.count = found.length;
    } catch (error) {
      place.replaceChildren(made("p", { class: "wrong" }, error.message));
    }
    setTimeout(show, BEAT);
  };
  show();
}

function table(found) {
  const rows = found.map((job) => made("tr", { "data-id": job.id },
    made("td", {}, made("a", { href: `/jobs/${job.id}` }, job.title)),
    made("td", {}, made("span", { class: "state", "data-state": job.state }, job.state)),
    made("td", {}, job.progress ? inWords(job.progress) : job.sentence || ""),
    made("td", {}, new Date(job.created * 1000).toLocaleString())));
  return made("div", { class: "wide" }, made("table", {}, made("tbody", {}, ...rows)));
}

export function inWords(progress) {
  const left = progress.left ? `, about ${minutes(progress.left)} left` : "";
  return `${progress.stage} ${Math.round(progress.part * 100)} %${progress.words ? ` (${progress.words})` : ""}${left}`;
}

const minutes = (seconds) => (seconds < 90 ? `${Math.round(seconds)} s` : `${Math.round(seconds / 60)} min`);

export function oneJob() {
  const place = document.getElementById("job");
  if (!place) return;
  const { id, verb } = place.dataset;
  const cancel = document.getElementById("cancel");
  const retry = document.getElementById("retry");
  const state = (name) => {
    place.dataset.state = name;
    const shown = document.getElementById("state");
    shown.textContent = shown.dataset.state = name;
    cancel.disabled = OVER.includes(name);
    retry.disabled = !OVER.includes(name);
  };
  state(place.dataset.state);
  const act = (what) => async () => {
    try {
      state((await ask(`/api/jobs/${id}/${what}`, { method: "POST" })).state);
      if (what === "retry") listen(0);
      else if (OVER.includes(place.dataset.state)) await results();
    } catch (error) { say(error.message); }
  };
  cancel.addEventListener("click", act("cancel"));
  retry.addEventListener("click", act("retry"));

  const results = async () => {
    const job = await ask(`/api/jobs/${id}`);
    state(job.state);
    const look = document.getElementById("look");
    const report = document.getElementById("report");
    if (job.out) { look.hidden = false; look.href = `/results/${job.out}`; }
    if (job.report) { report.hidden = false; report.href = `/reports/${job.report}`; }
    const sentence = document.getElementById("sentence");
    sentence.textContent = job.sentence.replaceAll("`", "");
    sentence.hidden = !job.sentence;
    return job;
  };

  const listen = () => {
    document.getElementById("sentence").hidden = true;
    const stream = new EventSource(`/api/jobs/${id}/events`);
    stream.onmessage = (message) => hear(JSON.parse(message.data), state);
    stream.addEventListener("over", async () => { stream.close(); await results(); });
    if (["train", "demo"].includes(verb)) follow(async () => (await ask(`/api/jobs/${id}`)).out, () => OVER.includes(place.dataset.state));
  };
  listen();
}

function hear(event, state) {
  const bar = document.getElementById("progress");
  const stage = document.getElementById("stage");
  const news = document.getElementById("news");
  if (event.event === "progress") {
    bar.value = event.part;
    stage.textContent = inWords(event);
    state("running");
  } else if (event.event === "started") {
    state("running");
    news.replaceChildren();
    bar.value = 0;
  } else if (event.sentence) {
    news.append(made("li", { class: event.event }, event.sentence.replaceAll("`", "")));
    news.scrollTop = news.scrollHeight;
  }
  if (event.event === "done") bar.value = 1;
}
