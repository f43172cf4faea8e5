// What lies on this machine, as cards.

import { ask, made } from "./ask.js";

const LINKS = {
  scan: (id) => `/look?scan=${id}`,
  labels: (id) => `/look?labels=${id}`,
  dataset: (id) => `/look?dataset=${id}`,
  run: (id) => `/runs/${id}`,
  comparison: (id) => `/reports/${id}`,
};
const MOST = 200;

export async function cards() {
  const places = document.querySelectorAll("[data-kinds].cards");
  for (const place of places) {
    const kinds = place.dataset.kinds;
    place.setAttribute("aria-busy", "true");
    try {
      const found = await ask(`/api/catalogue?kind=${encodeURIComponent(kinds)}`);
      place.replaceChildren(...found.slice(0, MOST).map(card));
      if (!found.length) place.replaceChildren(made("p", { class: "note" }, "Nothing yet."));
      if (found.length > MOST) place.append(made("p", { class: "note" }, `and ${found.length - MOST} more`));
      place.dataset.count = found.length;
    } catch (error) {
      place.replaceChildren(made("p", { class: "wrong" }, error.message));
    }
    place.removeAttribute("aria-busy");
  }
}

export function card(thing) {
  const picture = thing.kind === "scan"
    ? made("img", { src: `/api/slices/${thing.id}.png?plane=coronal`, alt: "", loading: "lazy", onerror: (e) => e.target.remove() })
    : null;
  return made("article", { class: "card", "data-id": thing.id, "data-kind": thing.kind },
    picture, made("b", {}, thing.name), made("small", {}, `${thing.kind}: ${thing.where}`),
    made("a", { href: LINKS[thing.kind](thing.id) }, "Open"));
}
