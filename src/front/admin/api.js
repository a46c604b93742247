// The REST interface of one application, with the JWT that the operator has entered.

const KEY = "leafcutter-admin-jwt";

export const app = decodeURIComponent(location.pathname.split("/")[1]);

export function setJwt(text) { sessionStorage.setItem(KEY, text); }

/** A refusal by one of the two filters in front of REST. */
export class Refused extends Error {}

/**
 * Calls `method path` and returns the answer's JSON.
 * @throws {Refused} by a filter
 * @throws {Error} with the server's words for everything else
 */
export async function call(method, path, body) {
  const headers = {};
  const jwt = sessionStorage.getItem(KEY);
  if (jwt) headers.Authorization = `Bearer ${jwt}`;
  if (body !== undefined) headers["Content-Type"] = "application/json";
  const answer = await fetch(`/${encodeURIComponent(app)}/rest/v2${path}`, {
    method, headers, body: body === undefined ? undefined : JSON.stringify(body),
  });
  const json = await answer.json().catch(() => ({}));
  if (answer.status === 403) throw new Refused(json.message ?? "refused");
  if (!answer.ok || json.success === false) throw new Error(json.message ?? `status ${answer.status}`);
  return json;
}

export const get = (path) => call("GET", path);
