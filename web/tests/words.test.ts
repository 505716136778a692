import { describe, expect, it } from "vitest";
import { parseAnswer } from "../src/answer";
import { listNotices } from "../src/notices";
import { formatBytes, formatShare, formatTime } from "../src/numbers";
import { sayOverall } from "../src/words";
import { makeAnswer, makeProbs, makeWindow } from "./answers";

const read = (changes: Record<string, unknown>, durationS = 6) =>
  parseAnswer(JSON.stringify(makeAnswer(durationS, changes)));
const segment = (start_s: number, end_s: number, label: string | null) => ({
  start_s,
  end_s,
  label,
  confidence: label && 0.7,
});
const one = [segment(0, 6, "happy")];
const nothing = { label: null, probs: null, probs_face: null, probs_voice: null, modalities: [], face: null };

describe("sayOverall", () => {
  it("names the one label, its share and what it comes from", () => {
    expect(sayOverall(read({ windows: [makeWindow(0, 3)], segments: one }))).toEqual({
      label: "happy",
      headline: "Mostly happy",
      sentences: ["Face and voice together come across as happy, 70 % on average over 6.0 s."],
    });
  });

  it("names the voice where the face is missing", () => {
    const windows = [makeWindow(0, 3, { modalities: ["voice"], face: null })];
    expect(sayOverall(read({ windows, segments: one })).sentences[0]).toMatch(/^The voice alone/);
  });

  it("names two that are close", () => {
    const probs = { ...makeProbs(3, 0.46), sad: 0.44, angry: 0.1, disgust: 0, fear: 0, neutral: 0, surprise: 0 };
    const said = sayOverall(read({ windows: [makeWindow(0, 3, { probs })], segments: one }));
    expect(said.headline).toBe("Between happy and sad");
    expect(said.sentences[0]).toContain("happy (46 %) or sad (44 %)");
  });

  it("names none that is weak", () => {
    const windows = [makeWindow(0, 3, { probs: makeProbs(3, 0.3) })];
    expect(sayOverall(read({ windows, segments: one }))).toMatchObject({
      headline: "No clear expression",
      sentences: [
        "Face and voice together come across as nothing in particular. The strongest is happy, 30 % on average.",
      ],
    });
  });

  it("tells a change, though no label leads on average", () => {
    const said = sayOverall(read({}));
    expect(said.headline).toBe("First neutral, then happy");
    expect(said.sentences.join(" ")).toContain("neutral for 50 % and happy for 50 % of the time");
    expect(said.sentences.join(" ")).toContain("happy from 0:03.0");
  });

  it("tells three stretches in order", () => {
    const segments = [segment(0, 2, "surprise"), segment(2, 4, null), segment(4, 6, "fear")];
    const said = sayOverall(read({ segments }));
    expect(said.headline).toBe("First surprise, then fear");
    expect(said.sentences[1]).toBe("It begins surprised, then without an answer from 0:02.0, then fearful from 0:04.0.");
  });

  it("names the label of most of the time", () => {
    const segments = [segment(0, 1, "sad"), segment(1, 6, "happy")];
    expect(sayOverall(read({ segments })).headline).toBe("Mostly happy");
  });

  it("counts many changes", () => {
    const labels = ["sad", "happy", "fear", "sad", "angry", "sad"];
    const segments = labels.map((label, i) => segment(i, i + 1, label));
    const said = sayOverall(read({ segments }));
    expect(said.headline).toBe("Changing, mostly sad and happy");
    expect(said.sentences[1]).toContain("It changes 5 times");
  });

  it("says nothing of a clip without an answer", () => {
    const said = sayOverall(read({ windows: [makeWindow(0, 0, nothing)], segments: [segment(0, 6, null)] }));
    expect(said).toMatchObject({ label: null, headline: "No answer" });
    expect(sayOverall(read({ windows: [], segments: [] })).headline).toBe("No answer");
  });
});

describe("listNotices", () => {
  it("is empty for a whole clip", () => {
    expect(listNotices(read({}))).toEqual([]);
  });

  it("says that no face was found, and what answered", () => {
    const windows = [makeWindow(0, 3, { states: ["no_face"], modalities: ["voice"], face: null })];
    expect(listNotices(read({ windows }))).toEqual([
      "No face was found in this clip. The answer comes from the voice alone.",
    ]);
  });

  it("says that there is no sound, and what answered", () => {
    const windows = [makeWindow(0, 3, { states: ["no_audio"], modalities: ["face"] })];
    expect(listNotices(read({ windows }))).toEqual(["This clip has no sound. The answer comes from the face alone."]);
  });

  it("counts windows", () => {
    const windows = [makeWindow(0, 3), makeWindow(1, 3, { ...nothing, states: ["no_face", "silent_audio"] })];
    expect(listNotices(read({ windows }))).toEqual([
      "In 1 of 2 windows no face was found.",
      "In 1 of 2 windows it is silent.",
      "1 of 2 windows has no answer.",
    ]);
  });

  it("keeps states it does not know, damage and warnings", () => {
    const windows = [makeWindow(0, 3, { states: ["odd_state"] })];
    const damage = { packets: 2, missing_s: 0.5 };
    const notices = listNotices(read({ windows, damage, warnings: ["0.5 s of picture are missing"] }));
    expect(notices[0]).toContain("odd_state");
    expect(notices).toContain("The file is damaged; what could be read was used.");
    expect(notices.at(-1)).toBe("0.5 s of picture are missing.");
  });
});

describe("numbers", () => {
  it.each([
    [0, "0:00.0"],
    [9.96, "0:10.0"],
    [61.25, "1:01.3"],
    [3600, "1:00:00.0"],
  ])("%d s is %s", (timeS, text) => expect(formatTime(timeS)).toBe(text));

  it("shares and sizes", () => {
    expect(formatShare(0.876)).toBe("88 %");
    expect([999, 1500, 2_340_000].map(formatBytes)).toEqual(["999 B", "2 kB", "2.3 MB"]);
  });
});
