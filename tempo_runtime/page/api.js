/** Call the server. Addresses are relative to the page, so that it works behind a proxy's prefix. */

import { parse } from "./json.js";

const DESCRIBE_SECONDS = 10;

/** The server answered with an error. */
export class ApiError extends Error {
  /**
   * @param {string} message
   * @param {number} status
   * @param {{kind?: string, fault?: string, retryable?: boolean, retry_after?: number, path?: string[]}} [info]
   */
  constructor(message, status, info = {}) {
    super(message);
    this.status = status;
    this.info = info;
  }
}

/** @param {string} path Such as /v2/models. @returns {URL} */
export function addressOf(path) {
  return new URL(path.replace(/^\//, ""), document.baseURI.replace(/[#?].*$/, ""));
}

/** @returns {Promise<any>} What /pipelines.json says. */
export async function liveState() {
  const response = await get("/pipelines.json");
  return response.json();
}

/** @returns {Promise<string>} The text of /openapi.json. */
export async function openApi() {
  return (await get("/openapi.json")).text();
}

async function get(path) {
  const response = await fetch(addressOf(path), {
    cache: "no-store",
    signal: AbortSignal.timeout(DESCRIBE_SECONDS * 1000),
  });
  if (!response.ok) throw await errorOf(response);
  return response;
}

/** @param {string} name @param {URLSearchParams} parameters */
export function pathOfCall(name, operation, parameters) {
  const query = parameters.toString();
  return `/v2/models/${encodeURIComponent(name)}/${operation}${query && `?${query}`}`;
}

/**
 * Call a pipeline, and hand over each item of its answer.
 *
 * Pipelines that do not stream have one item. The route for streams serves them too, and reports the progress
 * of explainers.
 *
 * @param {string} name
 * @param {string} body The arguments, as JSON.
 * @param {URLSearchParams} parameters
 * @param {AbortSignal} signal
 * @param {{onProgress: (news: Map<string, any>) => void, onItem: (text: string) => void}} listeners
 * @returns {Promise<{status: number}>}
 * @throws {ApiError}
 */
export async function call(name, body, parameters, signal, { onProgress, onItem }) {
  const response = await fetch(addressOf(pathOfCall(name, "predict_stream", parameters)), {
    method: "POST",
    headers: { "content-type": "application/json" },
    body,
    signal,
  });
  if (!response.ok) throw await errorOf(response);
  for await (const { event, data } of events(response.body)) {
    if (event === "progress") onProgress(parse(data));
    else if (event === "error") throw errorIn(data, 500);
    else onItem(data);
  }
  return { status: response.status };
}

/**
 * Draw an explanation.
 *
 * @param {string} explanation As JSON.
 * @returns {Promise<string>} HTML of the server.
 */
export async function pictureOf(explanation) {
  const response = await fetch(addressOf("/page/explanation"), {
    method: "POST",
    headers: { "content-type": "application/json" },
    body: explanation,
  });
  if (!response.ok) throw await errorOf(response);
  return response.text();
}

/**
 * Read server-sent events.
 * https://html.spec.whatwg.org/multipage/server-sent-events.html
 *
 * @param {ReadableStream<Uint8Array>} body
 */
async function* events(body) {
  const reader = body.pipeThrough(new TextDecoderStream()).getReader();
  let waiting = "";
  try {
    for (;;) {
      const { value, done } = await reader.read();
      if (done) return;
      waiting += value;
      const parts = waiting.split("\n\n");
      waiting = parts.pop();
      for (const part of parts) {
        const event = { event: "message", data: [] };
        for (const line of part.split("\n")) {
          if (line.startsWith("event: ")) event.event = line.slice(7);
          if (line.startsWith("data: ")) event.data.push(line.slice(6));
        }
        yield { event: event.event, data: event.data.join("\n") };
      }
    }
  } finally {
    await reader.cancel().catch(() => {}); // of a connection that is closed already
  }
}

async function errorOf(response) {
  return errorIn(await response.text(), response.status);
}

function errorIn(text, status) {
  try {
    const content = JSON.parse(text);
    return new ApiError(String(content.error ?? text), content.status ?? status, content.tempo ?? {});
  } catch {
    return new ApiError(text || `the server answered ${status}`, status);
  }
}
