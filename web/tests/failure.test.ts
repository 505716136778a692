import { describe, expect, it } from "vitest";
import { parseRefusal } from "../src/client";
import { describeCamera, describeMalformed, describeRefusal } from "../src/failure";

const describeIt = (status: number, reason: string | null, cause: string | null = null, retryAfterS: number | null = null) =>
  describeRefusal({ status, reason, cause, retryAfterS });

describe("describeRefusal", () => {
  it.each([
    [415, "not_media", "This file cannot be read", "other"],
    [422, "truncated_container", "This file cannot be read", "other"],
    [502, "decoder_crashed", "This file cannot be read", "other"],
    [422, "empty_file", "This file is empty", "other"],
    [422, "no_face", "No face was found", "other"],
    [422, "no_audio", "This clip has no sound", "other"],
    [422, "no_modality", "Neither a face nor a voice was found", "other"],
    [422, "duration_limit", "This clip is too long", "other"],
    [413, "upload_limit", "This file is too large", "other"],
    [413, null, "This file is too large", "other"],
    [401, "unauthorized", "This server asks for a key", "key"],
    [408, "slow_upload", "The upload was too slow", "retry"],
    [503, "overloaded", "The server is busy", "retry"],
    [503, "not_ready", "The server is not ready yet", "retry"],
    [503, "draining", "The server is shutting down", "retry"],
    [500, "internal", "The server failed", "retry"],
    [504, "timeout", "This clip took too long", "other"],
    [400, "bad_request", "This clip was refused", "other"],
    [0, null, "The server does not answer", "retry"],
  ])("%d %s: %s, %s", (status, reason, title, remedy) => {
    expect(describeIt(status, reason)).toMatchObject({ title, remedy });
  });

  it("says when to come again", () => {
    expect(describeIt(503, "overloaded", null, 4).detail).toBe("Try again in 4 seconds.");
    expect(describeIt(503, "overloaded", null, 0.2).detail).toBe("Try again in a second.");
    expect(describeIt(503, "overloaded").detail).toBe("Try again in a moment.");
  });

  it("says how much is too much", () => {
    expect(describeIt(413, "upload_limit", "more than 200000000 bytes").detail).toMatch(/^More than 200.0 MB\. /);
  });

  it("shows the server's cause as a sentence before its own hint", () => {
    expect(describeIt(422, "too_short", "0.2 s of sound").detail).toBe("0.2 s of sound. Half a second or more is needed.");
    expect(describeIt(400, "bad_request", "the form ends early").detail).toBe("The form ends early. Try another clip.");
  });
});

describe("parseRefusal", () => {
  it("reads reason, cause and Retry-After", () => {
    const body = '{"error": {"reason": "overloaded", "cause": "33 wait"}}';
    expect(parseRefusal(503, body, "7")).toEqual({
      status: 503,
      reason: "overloaded",
      cause: "33 wait",
      retryAfterS: 7,
    });
  });

  it.each(["", "<html>Bad gateway</html>", "null", "[]", '{"error": "text"}', '{"error": {"reason": 4}}'])(
    "has no reason in %j",
    (body) => {
      expect(parseRefusal(502, body, null)).toEqual({ status: 502, reason: null, cause: null, retryAfterS: null });
    },
  );

  it.each([[""], ["soon"], ["-3"]])("takes no Retry-After of %j", (header) => {
    expect(parseRefusal(503, "", header).retryAfterS).toBeNull();
  });
});

it("other failures", () => {
  expect(describeCamera("NotAllowedError").detail).toContain("did not allow");
  expect(describeCamera("Surprise").title).toBe("No camera or microphone");
  expect(describeMalformed("schema is 2")).toMatchObject({ remedy: "retry" });
});
