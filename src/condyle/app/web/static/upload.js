// Files that are dropped or chosen go to the server one by one, under a name for the whole.

import { ask, say, send } from "./ask.js";
import { cards } from "./things.js";

export function drop() {
  const place = document.getElementById("drop");
  if (!place) return;
  for (const name of ["dragover", "dragleave", "drop"]) {
    place.addEventListener(name, (event) => {
      event.preventDefault();
      place.classList.toggle("over", name === "dragover");
    });
  }
  place.addEventListener("drop", async (event) => {
    const entries = [...event.dataTransfer.items].map((item) => item.webkitGetAsEntry?.()).filter(Boolean);
    const found = entries.length ? (await Promise.all(entries.map(filesOf))).flat() : [...event.dataTransfer.files];
    upload(found, entries[0]?.name || found[0]?.name);
  });
  for (const id of ["files", "folder"]) {
    const input = document.getElementById(id);
    input.addEventListener("change", () => {
      const found = [...input.files];
      upload(found, found[0]?.webkitRelativePath.split("/")[0] || found[0]?.name);
    });
  }
}

function filesOf(entry) {
  if (entry.isFile) return new Promise((done, failed) => entry.file((file) => done([file]), failed));
  const reader = entry.createReader();
  return new Promise((done, failed) => {
    const all = [];
    const more = () => reader.readEntries(async (some) => {
      if (!some.length) done((await Promise.all(all.map(filesOf))).flat());
      else { all.push(...some); more(); }
    }, failed);
    more();
  });
}

async function upload(files, name = "upload") {
  if (!files.length) return;
  const bar = document.getElementById("upload");
  const place = document.getElementById("drop");
  bar.hidden = false;
  place.dataset.state = "running";
  try {
    const { id } = await send("/api/uploads", { name: name.replace(/\.(zip|nii(\.gz)?|nrrd|mha)$/i, "") });
    const whole = files.reduce((sum, file) => sum + file.size, 1);
    let sent = 0;
    for (const file of files) {
      await ask(`/api/uploads/${id}?name=${encodeURIComponent(file.name)}`, { method: "PUT", body: file });
      sent += file.size;
      bar.value = sent / whole;
    }
    const found = await ask(`/api/uploads/${id}/end`, { method: "POST" });
    say(`${found.length} found in what was uploaded`);
    place.dataset.state = "done";
    await cards();
    if (found.length === 1 && found[0].kind === "scan") location.href = `/look?scan=${found[0].id}`;
  } catch (error) {
    place.dataset.state = "failed";
    say(error.message);
  }
  bar.hidden = true;
}
