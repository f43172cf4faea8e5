// The forms of verbs: what can be chosen is asked of the server, and a job is made of what is.

import { ask, made, send } from "./ask.js";

export function forms() {
  for (const form of document.querySelectorAll("form.verb")) {
    fill(form);
    form.addEventListener("submit", (event) => {
      event.preventDefault();
      submit(form);
    });
  }
}

async function fill(form) {
  const asked = new URLSearchParams(location.search);
  for (const select of form.querySelectorAll("select[data-kinds]")) {
    const found = await ask(`/api/catalogue?kind=${encodeURIComponent(select.dataset.kinds)}`);
    const chosen = new Set(asked.getAll(select.name));
    if (select.multiple) select.replaceChildren();
    for (const thing of found) {
      const option = made("option", { value: `id:${thing.id}` }, `${thing.where || thing.name}${found.some((o) => o.kind !== thing.kind) ? ` (${thing.kind})` : ""}`);
      option.selected = chosen.has(thing.id);
      select.append(option);
    }
    select.dataset.filled = "yes";
  }
  form.setAttribute("data-filled", "yes"); // `form.dataset` may be a field of that name
}

export function settings(form) {
  const found = {};
  for (const field of form.querySelectorAll(".field")) {
    const input = field.querySelector("input, select");
    const { name, kind } = field.dataset;
    if (kind === "flag") {
      if (input.checked !== input.defaultChecked) found[name] = input.checked;
    } else if (kind === "picks") {
      const values = [...input.selectedOptions].map((option) => option.value).filter(Boolean);
      if (values.length) found[name] = values;
    } else if (kind === "number") {
      if (input.value !== "" && input.value !== input.defaultValue) found[name] = Number(input.value);
    } else if (kind === "choice") {
      const start = [...input.options].find((option) => option.defaultSelected);
      if (input.value && input.value !== (start ? start.value : "")) found[name] = input.value;
    } else if (input.value !== "" && (kind === "out" || kind === "pick" || input.value !== input.defaultValue)) {
      found[name] = kind === "text" && LISTS.has(name) ? input.value.split(/[\s,]+/).filter(Boolean) : input.value;
    }
  }
  return found;
}

const LISTS = new Set(["rename", "regions", "structures", "window"]);

async function submit(form) {
  const wrong = form.querySelector(".wrong");
  wrong.hidden = true;
  for (const field of form.querySelectorAll("[aria-invalid]")) field.removeAttribute("aria-invalid");
  try {
    const job = await send("/api/jobs", { verb: form.getAttribute("data-verb"), settings: settings(form) });
    location.href = `/jobs/${job.id}`;
  } catch (error) {
    wrong.textContent = error.message.replaceAll("`", "");
    wrong.hidden = false;
    const input = error.setting && form.querySelector(`[name="${CSS.escape(error.setting)}"]`);
    if (input) {
      input.setAttribute("aria-invalid", "true");
      input.closest("details")?.setAttribute("open", "");
      input.focus();
    }
  }
}
