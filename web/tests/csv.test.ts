import { expect, it } from "vitest";
import { parseAnswer } from "../src/answer";
import { writeCsv } from "../src/csv";
import { makeAnswer, makeProbs, makeWindow } from "./answers";

const HEADER =
  "path,start_s,end_s,label,angry,disgust,fear,happy,neutral,sad,surprise,modalities,states,face_id,x_px,y_px,width_px,height_px";
const write = (name: string, windows: unknown[]) =>
  writeCsv(name, parseAnswer(JSON.stringify(makeAnswer(6, { windows }))));

it("writes a row a window, with the command line's columns and digits", () => {
  const probs = { ...makeProbs(0, 1), angry: 0.999999, disgust: 0.000001 };
  const text = write("a.mp4", [makeWindow(0.5, 0, { probs, face: { id: 3, box: [1.2, 2, 30, 40.5] } })]);
  expect(text).toBe(
    `${HEADER}\na.mp4,0.500,3.500,angry,0.999999,0.000001,0.000000,0.000000,0.000000,0.000000,0.000000,` +
      "face+voice,,3,1.2,2.0,30.0,40.5\n",
  );
});

it("leaves cells of a window without an answer empty", () => {
  const nothing = { label: null, probs: null, modalities: [], states: ["silent_audio", "no_face"], face: null };
  const [, row] = write("a.mp4", [makeWindow(0, 0, nothing)]).split("\n");
  expect(row).toBe("a.mp4,0.000,3.000,,,,,,,,,,silent_audio no_face,,,,,");
  expect(row?.split(",")).toHaveLength(HEADER.split(",").length);
});

it.each([
  ["a,b.mp4", '"a,b.mp4",0.000'],
  ['say "hi".mp4', '"say ""hi"".mp4",0.000'],
  ["two\nlines.mp4", '"two\nlines.mp4",0.000'],
  ["plain name.mp4", "plain name.mp4,0.000"],
])("quotes the name %j where it must", (name, start) => {
  expect(write(name, [makeWindow(0, 0)]).slice(HEADER.length + 1)).toContain(start);
});
