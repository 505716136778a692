/** Answers clips apart from the page, which stays at hand meanwhile. */

import { answerClip, type Engine } from "./clip";
import { loadEngine } from "./engine";
import { FolderError } from "./folder";
import type { Reply, Question } from "./talk";
import { ClipError } from "./refusal";

let loading: Promise<Engine> | null = null;

const say = (reply: Reply): void => postMessage(reply);

addEventListener("message", ({ data }: MessageEvent<Question>) => {
  void answer(data).then(say, (error: unknown) => say(explain(error)));
});

async function answer({ address, name, file }: Question): Promise<Reply> {
  loading ??= loadEngine(address);
  try {
    const engine = await loading;
    const text = await answerClip(engine, name, file, (share) => say({ kind: "progress", share }));
    return { kind: "answered", text };
  } catch (error) {
    if (error instanceof FolderError) loading = null; // the next clip tries again
    throw error;
  }
}

function explain(error: unknown): Reply {
  if (error instanceof ClipError) return { kind: "refused", reason: error.reason, cause: error.why };
  if (error instanceof FolderError) return { kind: "incomplete", cause: error.message };
  return { kind: "failed", cause: error instanceof Error ? error.message : String(error) };
}
