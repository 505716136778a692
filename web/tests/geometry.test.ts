import { describe, expect, it } from "vitest";
import { placeBox } from "../src/geometry";

describe("placeBox", () => {
  it("scales with the video", () => {
    const placed = placeBox([100, 50, 200, 100], { width: 1280, height: 720 }, { width: 640, height: 360 });
    expect(placed).toEqual([50, 25, 100, 50]);
  });

  it("moves by the bars above and below, or left and right", () => {
    const wide = { width: 200, height: 100 };
    expect(placeBox([0, 0, 200, 100], wide, { width: 100, height: 100 })).toEqual([0, 25, 100, 50]);
    expect(placeBox([0, 0, 100, 100], wide, { width: 400, height: 100 })).toEqual([100, 0, 100, 100]);
  });

  it("cuts at the edges of the picture", () => {
    const video = { width: 100, height: 100 };
    expect(placeBox([-20, 80, 50, 50], video, video)).toEqual([0, 80, 30, 20]);
    expect(placeBox([120, 0, 50, 50], video, video)).toBeNull();
  });

  it("has nothing to place while the video has no size", () => {
    expect(placeBox([0, 0, 10, 10], { width: 0, height: 0 }, { width: 100, height: 100 })).toBeNull();
    expect(placeBox([0, 0, 10, 10], { width: 100, height: 100 }, { width: 0, height: 0 })).toBeNull();
  });
});
