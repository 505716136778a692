import { describe, expect, it } from "vitest";
import type { Segment } from "../src/answer";
import { layOut } from "../src/segments";

const segment = (startS: number, endS: number): Segment => ({ startS, endS, label: "sad", confidence: 0.5 });

describe("layOut", () => {
  it("gives each segment its share, without gaps", () => {
    const blocks = layOut([segment(0, 2), segment(2, 8)], 8, 400);
    expect(blocks.map((b) => [b.left, b.width])).toEqual([
      [0, 0.25],
      [0.25, 0.75],
    ]);
  });

  it("says how much text there is room for", () => {
    const rooms = layOut([segment(0, 10), segment(10, 15), segment(15, 16)], 16, 200).map((b) => b.room);
    expect(rooms).toEqual(["full", "short", "none"]);
  });

  it("cuts at the end of the clip and leaves empty ones out", () => {
    expect(layOut([segment(0, 12)], 10, 100)[0]).toMatchObject({ left: 0, width: 1 });
    expect(layOut([segment(3, 3), segment(11, 12)], 10, 100)).toEqual([]);
  });

  it("has no bar for a clip without length", () => {
    expect(layOut([segment(0, 1)], 0, 100)).toEqual([]);
  });
});
