// Tokens and subscribers of one broadcast.

import { call, get } from "./api.js";
import { button, make, toast } from "./admin.js";

const $ = (id) => document.getElementById(id);
let shown;

/** Shows them for the broadcast `id`, which need not be on air. */
export async function showAccess(id) {
  if (!id) return;
  const base = `/broadcasts/${encodeURIComponent(id)}`;
  const [tokens, subscribers] = await Promise.all([
    get(`${base}/tokens/list/0/50`), get(`${base}/subscribers/list/0/50`),
  ]);
  if (shown !== id) $("token-made").hidden = true;
  shown = id;
  $("access-id").value = id;
  $("access").hidden = false;
  const until = (seconds) => new Date(seconds * 1000).toLocaleString();
  $("tokens").replaceChildren(...(tokens.length ? tokens.map((token) => make("li", "",
    make("code", "", token.tokenId.slice(0, 16)), `to ${token.type}`, `until ${until(token.expireDate)}`)) : [make("li", "muted", "none")]));
  if (tokens.length) {
    $("tokens").append(make("li", "", button("Revoke all", async () => {
      await call("DELETE", `${base}/tokens`);
      await showAccess(id);
    }, { sure: true })));
  }
  $("subscribers").replaceChildren(...(subscribers.length ? subscribers.map((subscriber) => {
    const own = `${base}/subscribers/${encodeURIComponent(subscriber.subscriberId)}`;
    const block = (seconds) => async () => {
      await call("PUT", `${own}/block/${seconds}/publish_play`);
      await showAccess(id);
    };
    return make("li", "", make("code", "", subscriber.subscriberId), subscriber.type ?? "",
      make("span", "actions",
        button("Block for an hour", block(3600), { sure: true }), " ",
        button("Let in", block(0))));
  }) : [make("li", "muted", "none registered")]));
}

$("token-form").addEventListener("submit", async (event) => {
  event.preventDefault();
  const expires = Math.floor(Date.now() / 1000) + Number($("token-life").value);
  try {
    const token = await get(`/broadcasts/${encodeURIComponent(shown)}/token?expireDate=${expires}&type=${$("token-type").value}`);
    $("token-made").replaceChildren("Shown this once: ", make("code", "", token.tokenId));
    $("token-made").hidden = false;
    await showAccess(shown);
  } catch (error) {
    toast(error.message);
  }
});
