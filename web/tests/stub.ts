/** Stands in for the server while the page is worked on: `npm run dev`. Answers by file name. */

import type { IncomingMessage, ServerResponse } from "node:http";
import type { ViteDevServer } from "vite";
import { makeAnswer } from "./answers.ts";

const REFUSALS: Readonly<Record<string, readonly [status: number, reason: string, cause: string]>> = {
  broken: [415, "not_media", "not a readable audio or video file"],
  large: [413, "upload_limit", "200 MB are taken at most"],
  busy: [503, "overloaded", "33 requests are being answered or wait"],
  starting: [503, "not_ready", "the network is warming up"],
  key: [401, "unauthorized", "the API key is missing or wrong"],
};

/** Answer POST /v1/predict: with a refusal that the file's name asks for, or with made-up windows. */
export function answerAsStub(server: ViteDevServer): void {
  server.middlewares.use("/v1/predict", (request, response) => {
    void readBody(request).then((body) => {
      const name = /filename="([^"]*)"/.exec(body)?.[1] ?? "";
      setTimeout(() => answer(name, response), 800);
    });
  });
}

function answer(name: string, response: ServerResponse): void {
  const refusal = Object.entries(REFUSALS).find(([word]) => name.includes(word))?.[1];
  response.setHeader("Content-Type", "application/json");
  if (refusal) {
    const [status, reason, cause] = refusal;
    response.statusCode = status;
    if (status === 503) response.setHeader("Retry-After", "4");
    response.end(JSON.stringify({ error: { reason, cause } }));
    return;
  }
  response.end(JSON.stringify(makeAnswer(name.includes("long") ? 60 : 12)));
}

async function readBody(request: IncomingMessage): Promise<string> {
  const blocks: Buffer[] = [];
  for await (const block of request) blocks.push(block as Buffer);
  return Buffer.concat(blocks).toString("latin1");
}
