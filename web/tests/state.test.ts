import { describe, expect, it } from "vitest";
import { parseAnswer } from "../src/answer";
import { describeCamera } from "../src/failure";
import { advance, type Clip, type Event, isBusy, START, type State } from "../src/state";
import { makeAnswer } from "./answers";

const clip: Clip = { name: "a.mp4", data: new Blob(["x"]) };
const failure = describeCamera("NotFoundError");
const text = JSON.stringify(makeAnswer());
const answer = parseAnswer(text);
const run = (...events: Event[]): State => events.reduce(advance, START);

const send: Event = { kind: "send", clip, ticket: 1 };
const sent: Event = { kind: "sent", ticket: 1 };
const answered: Event = { kind: "answered", ticket: 1, answer, text };
const refused: Event = { kind: "refused", ticket: 1, failure };
const record: Event = { kind: "record" };
const leave: Event = { kind: "leave" };

describe("advance", () => {
  it("goes from a clip to its answer and back", () => {
    expect(run(send)).toEqual({ kind: "sending", clip, ticket: 1, share: 0 });
    expect(run(send, sent)).toEqual({ kind: "waiting", clip, ticket: 1 });
    expect(run(send, sent, answered)).toEqual({ kind: "done", clip, answer, text });
    expect(run(send, sent, answered, leave)).toEqual(START);
  });

  it("takes an answer that comes before the upload's end", () => {
    expect(run(send, refused)).toEqual({ kind: "failed", clip, failure });
  });

  it("never goes back in progress", () => {
    const progress = (share: number): Event => ({ kind: "progress", ticket: 1, share });
    expect(run(send, progress(0.5), progress(0.2))).toMatchObject({ share: 0.5 });
    expect(run(send, sent, progress(0.9))).toMatchObject({ kind: "waiting" });
  });

  it("ignores what belongs to a cancelled or an earlier sending", () => {
    expect(run(send, leave, answered)).toEqual(START);
    const second: Event = { kind: "send", clip, ticket: 2 };
    expect(run(send, second, answered)).toMatchObject({ kind: "sending", ticket: 2 });
    expect(run(send, second, refused)).toMatchObject({ kind: "sending", ticket: 2 });
  });

  it("sends a failed clip again", () => {
    expect(run(send, refused, { kind: "send", clip, ticket: 2 })).toMatchObject({ kind: "sending", ticket: 2 });
  });

  it("records, but not while a clip is on its way", () => {
    expect(run(record)).toEqual({ kind: "recording" });
    expect(run(record, leave)).toEqual(START);
    expect(run(record, send)).toMatchObject({ kind: "sending" });
    expect(run(send, record)).toMatchObject({ kind: "sending" });
    expect(run(send, refused, record)).toEqual({ kind: "recording" });
  });

  it("has no camera only while it records", () => {
    const noCamera: Event = { kind: "noCamera", failure };
    expect(run(record, noCamera)).toEqual({ kind: "failed", clip: null, failure });
    expect(run(noCamera)).toEqual(START);
  });

  it("knows when it is busy", () => {
    expect([START, run(send), run(send, sent), run(send, sent, answered)].map(isBusy)).toEqual([
      false,
      true,
      true,
      false,
    ]);
  });
});
