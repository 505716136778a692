import { describe, expect, it } from "vitest";
import { MalformedAnswer, parseAnswer } from "../src/answer";
import { makeAnswer, makeProbs, makeWindow } from "./answers";

const parse = (data: unknown) => parseAnswer(JSON.stringify(data));

describe("parseAnswer", () => {
  it("reads every field", () => {
    const answer = parse(makeAnswer(6));
    expect(answer).toMatchObject({ windowS: 3, hopS: 1, durationS: 6, warnings: [] });
    expect(answer.windows).toHaveLength(4);
    expect(answer.windows[0]).toMatchObject({
      startS: 0,
      endS: 3,
      label: "neutral",
      modalities: ["face", "voice"],
      face: { id: 0, box: [100, 40, 120, 150] },
    });
    expect(answer.windows[0]?.probs?.neutral).toBe(0.7);
    expect(answer.windows[0]?.probsVoice?.sad).toBe(0.4);
    expect(answer.segments[1]).toEqual({ startS: 3, endS: 6, label: "happy", confidence: 0.7 });
  });

  it("takes windows that abstain, and parts that are missing", () => {
    const nothing = { label: null, probs: null, modalities: [], states: ["no_face"], face: null };
    const { probs_face: _, probs_voice: __, ...window } = makeWindow(0, 0, nothing);
    const answer = parse(makeAnswer(6, { windows: [window] }));
    expect(answer.windows[0]).toMatchObject({ label: null, probs: null, probsFace: null, probsVoice: null });
  });

  it("takes an answer without windows", () => {
    expect(parse(makeAnswer(6, { windows: [], segments: [] })).windows).toEqual([]);
  });

  const badWindow = (changes: Record<string, unknown>) => makeAnswer(6, { windows: [makeWindow(0, 0, changes)] });
  it.each([
    ["a list", [makeAnswer()], "answer"],
    ["another schema", makeAnswer(6, { schema: 2 }), "schema"],
    ["no windows", makeAnswer(6, { windows: undefined }), "windows"],
    ["a negative length", makeAnswer(6, { duration_s: -1 }), "duration_s"],
    ["a length that is text", makeAnswer(6, { duration_s: "6" }), "duration_s"],
    ["a missing damage", makeAnswer(6, { damage: null }), "damage"],
    ["a warning that is no text", makeAnswer(6, { warnings: [1] }), "warnings[0]"],
    ["an unknown label", badWindow({ label: "bored" }), "windows[0].label"],
    ["a label without probabilities", badWindow({ probs: null }), "windows[0]"],
    ["six probabilities", badWindow({ probs: { ...makeProbs(0), fear: undefined } }), "windows[0].probs.fear"],
    ["a probability above one", badWindow({ probs: { ...makeProbs(0), fear: 1.2 } }), "windows[0].probs.fear"],
    ["probabilities of another sum", badWindow({ probs: { ...makeProbs(0), angry: 0.1 } }), "windows[0].probs"],
    ["a bad part", badWindow({ probs_face: [] }), "windows[0].probs_face"],
    ["an end before the start", badWindow({ start_s: 4, end_s: 3 }), "windows[0].end_s"],
    ["three sides", badWindow({ face: { id: 0, box: [1, 2, 3] } }), "windows[0].face.box"],
    ["a box without area", badWindow({ face: { id: 0, box: [1, 2, 0, 3] } }), "windows[0].face.box"],
    ["an unknown modality", badWindow({ modalities: ["hands"] }), "windows[0].modalities[0]"],
    ["windows out of order", makeAnswer(6, { windows: [makeWindow(1, 0), makeWindow(0, 0)] }), "windows[1]"],
    [
      "a segment without a probability",
      makeAnswer(6, { segments: [{ start_s: 0, end_s: 6, label: "sad", confidence: null }] }),
      "segments[0]",
    ],
  ])("rejects %s", (_, data, place) => {
    expect(() => parse(data)).toThrow(MalformedAnswer);
    expect(() => parse(data)).toThrow(place);
  });

  it.each(["", "<html>", "NaN", "null"])("rejects the text %j", (text) => {
    expect(() => parseAnswer(text)).toThrow(MalformedAnswer);
  });
});
