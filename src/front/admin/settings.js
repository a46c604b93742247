// The application's settings, with the documentation that the server itself gives of them.

import { call, get } from "./api.js";
import { make, toast } from "./admin.js";

const $ = (id) => document.getElementById(id);

/** Shows every setting; a change is sent when its field is left. */
export async function showSettings() {
  const [settings, document] = await Promise.all([get("/settings"), get("/openapi.json")]);
  const documented = document.components.schemas.AppSettings.properties;
  $("settings").replaceChildren(...Object.entries(settings).map(([name, value]) =>
    setting(name, value, documented[name]?.description ?? "")));
  search();
}

function setting(name, value, description) {
  const input = make("input");
  input.id = `setting-${name}`;
  const isText = typeof value !== "boolean" && typeof value !== "number";
  if (typeof value === "boolean") {
    input.type = "checkbox";
    input.checked = value;
  } else {
    input.type = typeof value === "number" ? "number" : "text";
    input.value = typeof value === "object" ? JSON.stringify(value) : value;
    input.spellcheck = false;
  }
  const label = make("label", "", make("code", "", name));
  label.htmlFor = input.id;
  const row = make("div", "setting", label, make("p", "", description), make("div", "value", input));
  row.dataset.words = `${name} ${description}`.toLowerCase();
  let saved = input.value;
  const read = () => {
    if (input.type === "checkbox") return input.checked;
    if (input.type === "number") return Number(input.value);
    return isText && typeof value === "object" ? JSON.parse(input.value) : input.value;
  };
  input.addEventListener("change", async () => {
    // Empty, and that is how what is no number reads too: as a number it would be 0.
    if (input.type === "number" && input.value === "") {
      input.value = saved;
      toast(`${name}: a number is needed`);
      return;
    }
    row.classList.add("changed");
    const sent = input.value;
    try {
      const { message } = await call("PUT", "/settings", { [name]: read() });
      $("settings-state").textContent = `${name}: saved${message ? `, ${message}` : ""}`;
      saved = sent;
      row.classList.remove("changed");
    } catch (error) {
      $("settings-state").textContent = "";
      toast(`${name}: ${error.message}`);
    }
  });
  return row;
}

function search() {
  const words = $("settings-search").value.toLowerCase().split(/\s+/);
  for (const row of $("settings").children) row.hidden = !words.every((word) => row.dataset.words.includes(word));
}

$("settings-search").addEventListener("input", search);
