/** The way to the worker, in place of the one to a server. */

import { parseAnswer } from "../answer";
import type { Listener } from "../client";
import { describeRefusal, type Failure } from "../failure";
import type { Clip } from "../state";
import type { Question, Reply } from "./talk";

let worker: Worker | null = null; // kept from clip to clip with the networks it has loaded

/** Answer a clip on this machine; returns what cancels it. After a cancel the listener hears nothing. */
export function answerHere(clip: Clip, _key: string, listener: Listener): () => void {
  const missing = findMissing();
  if (missing) {
    listener.refused(missing);
    return () => undefined;
  }
  worker ??= new Worker(new URL("./worker.ts", import.meta.url), { type: "module" });
  const asked = worker;
  let open = true;
  const stop = (): void => {
    open = false;
    asked.onmessage = asked.onerror = null;
    if (worker === asked) worker = null;
    asked.terminate();
  };
  asked.onmessage = ({ data }: MessageEvent<Reply>) => {
    open = data.kind === "progress";
    hear(data, listener);
  };
  asked.onerror = () => {
    stop();
    listener.refused(describeStop("The part of the page that reads clips has stopped"));
  };
  const question: Question = { address: document.baseURI, name: clip.name, file: clip.data };
  asked.postMessage(question);
  return () => {
    if (open) stop();
  };
}

function hear(reply: Reply, listener: Listener): void {
  switch (reply.kind) {
    case "progress":
      return listener.progress(reply.share);
    case "answered":
      return listener.answered(parseAnswer(reply.text), reply.text);
    case "refused":
      return listener.refused(describeRefusal({ status: 415, ...reply, retryAfterS: null }));
    case "incomplete":
      return listener.refused({
        title: "This page is not complete",
        detail: `${reply.cause}. Copy the whole folder once more, as it was exported.`,
        remedy: "retry",
      });
    case "failed":
      return listener.refused(describeStop(reply.cause));
  }
}

/** What the browser lacks, in one message; null where it has all that is needed. */
function findMissing(): Failure | null {
  if (typeof VideoDecoder === "function" && typeof AudioDecoder === "function") return null;
  const detail = isSecureContext
    ? "It needs WebCodecs: Chrome or Edge 94, Firefox 130 or Safari 26, or newer."
    : "Browsers decode video for pages on https or on this machine only. Open the page there.";
  return { title: "This browser cannot read video here", detail, remedy: "other" };
}

function describeStop(cause: string): Failure {
  return { title: "The answer could not be worked out", detail: `${cause}.`, remedy: "retry" };
}
