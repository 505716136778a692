import { describe, expect, it, vi } from "vitest";
import { type Listener, sendClip } from "../src/client";
import { chooseType, nameTake } from "../src/recorder";
import { makeAnswer } from "./answers";

/** As much of XMLHttpRequest as is used. */
class Request {
  upload: Record<string, (e?: unknown) => void> = {};
  headers: Record<string, string> = {};
  answered: Record<string, string> = {};
  status = 0;
  responseText = "";
  method = "";
  address = "";
  body: FormData | null = null;
  aborted = false;
  onload: () => void = () => undefined;
  onerror: () => void = () => undefined;
  open(method: string, address: string): void {
    Object.assign(this, { method, address });
  }
  setRequestHeader(name: string, value: string): void {
    this.headers[name] = value;
  }
  getResponseHeader(name: string): string | null {
    return this.answered[name] ?? null;
  }
  send(body: FormData): void {
    this.body = body;
  }
  abort(): void {
    this.aborted = true;
  }
  hear(status: number, text: string): void {
    Object.assign(this, { status, responseText: text });
    this.onload();
  }
}

function start(key = "") {
  const request = new Request();
  const listener = { progress: vi.fn(), sent: vi.fn(), answered: vi.fn(), refused: vi.fn() } satisfies Listener;
  const clip = { name: "a.mp4", data: new Blob(["four"]) };
  const cancel = sendClip(clip, key, listener, request as unknown as XMLHttpRequest);
  return { request, listener, cancel };
}

describe("sendClip", () => {
  it("posts the file to an address beside the page", () => {
    const { request } = start();
    expect([request.method, request.address]).toEqual(["POST", "v1/predict?timeline=true&parts=true"]);
    expect((request.body?.get("file") as File).name).toBe("a.mp4");
    expect(request.headers).toEqual({});
  });

  it("gives the key as a bearer token", () => {
    expect(start("secret").request.headers).toEqual({ Authorization: "Bearer secret" });
  });

  it("tells progress, the end of the upload and the answer", () => {
    const { request, listener } = start();
    request.upload.onprogress?.({ lengthComputable: true, loaded: 1, total: 4 });
    request.upload.onload?.();
    const text = JSON.stringify(makeAnswer());
    request.hear(200, text);
    expect(listener.progress).toHaveBeenCalledWith(0.25);
    expect(listener.sent).toHaveBeenCalledOnce();
    expect(listener.answered).toHaveBeenCalledWith(expect.objectContaining({ durationS: 6 }), text);
  });

  it("tells a refusal, with when to come again", () => {
    const { request, listener } = start();
    request.answered["Retry-After"] = "9";
    request.hear(503, '{"error": {"reason": "overloaded", "cause": "33 wait"}}');
    expect(listener.refused).toHaveBeenCalledWith(expect.objectContaining({ detail: "Try again in 9 seconds." }));
  });

  it("tells an answer that makes no sense, and a server that is gone", () => {
    const odd = start();
    odd.request.hear(200, "{}");
    expect(odd.listener.refused).toHaveBeenCalledWith(expect.objectContaining({ title: "The answer makes no sense" }));
    const gone = start();
    gone.request.onerror();
    expect(gone.listener.refused).toHaveBeenCalledWith(expect.objectContaining({ title: "The server does not answer" }));
  });

  it("tells a connection that is cut within the upload", () => {
    const { request, listener } = start();
    request.upload.onprogress?.({ lengthComputable: true, loaded: 1, total: 4 });
    request.onerror();
    expect(listener.refused).toHaveBeenCalledWith(expect.objectContaining({ title: "The connection was cut" }));
  });

  it("says nothing after a cancel", () => {
    const { request, listener, cancel } = start();
    cancel();
    request.upload.onload?.();
    request.hear(200, JSON.stringify(makeAnswer()));
    request.onerror();
    expect(request.aborted).toBe(true);
    for (const call of Object.values(listener)) expect(call).not.toHaveBeenCalled();
  });
});

describe("takes", () => {
  it("choose a kind that the browser records", () => {
    expect(chooseType(() => true)).toBe("video/webm;codecs=vp8,opus");
    expect(chooseType((type) => type === "video/mp4")).toBe("video/mp4");
    expect(chooseType(() => false)).toBe("");
  });

  it("are named by their kind", () => {
    expect(nameTake("video/mp4;codecs=avc1")).toBe("recording.mp4");
    expect(nameTake("video/webm;codecs=vp8,opus")).toBe("recording.webm");
  });
});
