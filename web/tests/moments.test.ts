import { describe, expect, it } from "vitest";
import { parseAnswer } from "../src/answer";
import { findBox, findEdges, findWindow } from "../src/moments";
import { listColumns } from "../src/columns";
import { makeAnswer, makeWindow } from "./answers";

const read = (durationS: number, changes = {}) => parseAnswer(JSON.stringify(makeAnswer(durationS, changes)));

describe("findEdges", () => {
  it("gives each window a hop about its middle, first and last also the ends", () => {
    expect(findEdges(read(6))).toEqual([0, 2, 3, 4, 6]);
  });

  it("stays inside a clip shorter than its windows", () => {
    expect(findEdges(read(2, { windows: [makeWindow(0, 0)] }))).toEqual([0, 2]);
    expect(findEdges(read(2, { windows: [] }))).toEqual([]);
  });
});

describe("findWindow", () => {
  it.each([
    [-1, 0],
    [0, 0],
    [1.99, 0],
    [2, 1],
    [3.5, 2],
    [6, 3],
    [99, 3],
  ])("at %d s is window %d", (timeS, index) => {
    expect(findWindow([0, 2, 3, 4, 6], timeS)).toBe(index);
  });

  it("is none without windows", () => {
    expect(findWindow([], 1)).toBe(-1);
  });
});

describe("findBox", () => {
  const box = (x: number, id = 0) => ({ face: { id, box: [x, 0, 10, 10] } });

  it("goes from one window's box to the next", () => {
    const answer = read(5, { windows: [makeWindow(0, 0, box(0)), makeWindow(1, 0, box(20))] });
    expect(findBox(answer, 0, 1.5)).toEqual([0, 0, 10, 10]);
    expect(findBox(answer, 0, 2)).toEqual([10, 0, 10, 10]);
    expect(findBox(answer, 1, 2)).toEqual([10, 0, 10, 10]);
    expect(findBox(answer, 1, 5)).toEqual([20, 0, 10, 10]);
    expect(findBox(answer, 0, 0)).toEqual([0, 0, 10, 10]);
  });

  it("stays where the next face is another person's", () => {
    const answer = read(5, { windows: [makeWindow(0, 0, box(0)), makeWindow(1, 0, box(20, 1))] });
    expect(findBox(answer, 0, 2)).toEqual([0, 0, 10, 10]);
  });

  it("is null without a face, or without a window", () => {
    const answer = read(5, { windows: [makeWindow(0, 0, { face: null })] });
    expect(findBox(answer, 0, 1)).toBeNull();
    expect(findBox(answer, -1, 1)).toBeNull();
  });
});

describe("listColumns", () => {
  it("puts windows at their middles and carries the ends on", () => {
    const nothing = { label: null, probs: null };
    const answer = read(6, { windows: [makeWindow(0, 0), makeWindow(1, 0, nothing), makeWindow(2, 3)] });
    const [times, angry, , , happy] = listColumns(answer);
    expect(times).toEqual([0, 1.5, 2.5, 3.5, 6]);
    expect(angry).toEqual([0.7, 0.7, null, expect.closeTo(0.05), expect.closeTo(0.05)]);
    expect(happy?.at(-1)).toBe(0.7);
  });

  it("has eight empty columns without windows", () => {
    expect(listColumns(read(6, { windows: [] }))).toEqual(Array(8).fill([]));
  });
});
