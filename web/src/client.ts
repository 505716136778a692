/** The way to the server. */

import { type Answer, MalformedAnswer, parseAnswer } from "./answer";
import { describeCut, describeMalformed, describeRefusal, type Failure, type Refusal } from "./failure";
import type { Clip } from "./state";

/** Beside the page, so that a server behind a path prefix is found too. */
const ADDRESS = "v1/predict?timeline=true&parts=true";

export interface Listener {
  progress(share: number): void;
  sent(): void;
  answered(answer: Answer, text: string): void;
  refused(failure: Failure): void;
}

/**
 * Send a clip; returns what cancels it. After a cancel the listener hears nothing more.
 * XMLHttpRequest, as fetch tells nothing of how much has been sent.
 */
export function sendClip(
  clip: Clip,
  key: string,
  listener: Listener,
  request: XMLHttpRequest = new XMLHttpRequest(),
): () => void {
  let open = true;
  const form = new FormData();
  form.append("file", clip.data, clip.name);
  request.open("POST", ADDRESS);
  if (key) request.setRequestHeader("Authorization", `Bearer ${key}`);
  let sending = false;
  request.upload.onprogress = (e) => {
    sending = true;
    if (open && e.lengthComputable) listener.progress(e.loaded / e.total);
  };
  request.upload.onload = () => {
    sending = false;
    if (open) listener.sent();
  };
  request.onload = () => open && hear(request, listener);
  request.onerror = () => open && listener.refused(sending ? describeCut() : describeRefusal(NO_ANSWER));
  request.send(form);
  return () => {
    open = false;
    request.abort();
  };
}

const NO_ANSWER: Refusal = { status: 0, reason: null, cause: null, retryAfterS: null };

function hear(request: XMLHttpRequest, listener: Listener): void {
  if (request.status !== 200) {
    const retryAfter = request.getResponseHeader("Retry-After");
    listener.refused(describeRefusal(parseRefusal(request.status, request.responseText, retryAfter)));
    return;
  }
  try {
    listener.answered(parseAnswer(request.responseText), request.responseText);
  } catch (error) {
    if (!(error instanceof MalformedAnswer)) throw error;
    listener.refused(describeMalformed(error.message));
  }
}

/** An error's status, body and Retry-After header; whatever is no {"error": {...}} has no reason. */
export function parseRefusal(status: number, body: string, retryAfter: string | null): Refusal {
  const seconds = retryAfter === null || retryAfter.trim() === "" ? NaN : Number(retryAfter);
  const retryAfterS = Number.isFinite(seconds) && seconds >= 0 ? seconds : null;
  const { reason, cause } = readError(body);
  return { status, reason, cause, retryAfterS };
}

function readError(body: string): { reason: string | null; cause: string | null } {
  try {
    const error: unknown = JSON.parse(body)?.error;
    if (typeof error === "object" && error !== null) {
      const { reason, cause } = error as Record<string, unknown>;
      const take = (value: unknown): string | null => (typeof value === "string" ? value : null);
      return { reason: take(reason), cause: take(cause) };
    }
  } catch {
    // a proxy's page, not the server's own words
  }
  return { reason: null, cause: null };
}
