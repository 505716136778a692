import { useEffect, useReducer, useRef, useState } from "preact/hooks";
import { sendClip } from "../client";
import { describeCamera, type Failure } from "../failure";
import { advance, type Clip, isBusy, START, type State } from "../state";
import { sayOverall } from "../words";
import { About } from "./about";
import { FailureView } from "./failure";
import { Picker } from "./picker";
import { Progress } from "./progress";
import { RecorderView } from "./recorder";
import { Result } from "./result";

interface Props {
  /** Gets a clip answered; a server does unless told otherwise. */
  ask?: typeof sendClip;
  /** Whether clips are answered here and go nowhere. */
  local?: boolean;
}

/** The page: one state at a time, and a line that screen readers hear. */
export function Page({ ask = sendClip, local = false }: Props) {
  const [state, dispatch] = useReducer(advance, START);
  const [key, setKey] = useState(""); // in memory only, gone with the page
  const cancelSending = useRef<() => void>(() => undefined);
  const lastTicket = useRef(0);

  function send(clip: Clip, withKey = key): void {
    cancelSending.current();
    const ticket = ++lastTicket.current;
    dispatch({ kind: "send", clip, ticket });
    cancelSending.current = ask(clip, withKey, {
      progress: (share) => dispatch({ kind: "progress", ticket, share }),
      sent: () => dispatch({ kind: "sent", ticket }),
      answered: (answer, text) => dispatch({ kind: "answered", ticket, answer, text }),
      refused: (failure) => dispatch({ kind: "refused", ticket, failure }),
    });
  }

  function leave(): void {
    cancelSending.current();
    dispatch({ kind: "leave" });
  }

  function refuseCamera(error: unknown): void {
    const name = error instanceof DOMException ? error.name : "";
    dispatch({ kind: "noCamera", failure: describeCamera(name) });
  }

  function retry(clip: Clip, newKey: string): void {
    setKey(newKey);
    send(clip, newKey);
  }

  const first = useRef(true);
  const main = useRef<HTMLElement>(null);
  useEffect(() => {
    // what had the focus is gone with the last state
    if (!first.current) main.current?.querySelector<HTMLElement>("[data-first]")?.focus();
    first.current = false;
  }, [state.kind]);

  const picker = <Picker choose={send} record={local ? null : () => dispatch({ kind: "record" })} />;
  return (
    <>
      <header class="top">
        <p class="mark">
          <svg viewBox="0 0 32 32" aria-hidden="true" class="mark-sign">
            <path d="M6 19v-5M11 23V9M16 27V5M21 22V10M26 18v-4" />
          </svg>
          keras_emo
        </p>
      </header>
      <main ref={main}>
        <div class={state.kind === "done" ? "intro small" : "intro"}>
          <h1>How does it come across?</h1>
          <p class="lead">
            Face and voice of a person speaking, read for seven expressions from moment to moment.
            {local && " Your clip stays on this device."}
          </p>
        </div>
        {state.kind === "idle" && picker}
        {state.kind === "recording" && <RecorderView finish={send} leave={leave} refuse={refuseCamera} />}
        {isBusy(state) && <Progress state={state} cancel={leave} local={local} />}
        {state.kind === "failed" && (
          <>
            <FailureView failure={state.failure} clip={state.clip} oldKey={key} retry={retry} />
            {state.failure.remedy !== "key" && picker}
          </>
        )}
        {state.kind === "done" && <Result state={state} leave={leave} />}
        <About local={local} />
      </main>
      <p class="unseen" role="status" aria-live="polite">
        {sayState(state, local)}
      </p>
      <p class="unseen" role="alert" aria-live="assertive">
        {state.kind === "failed" ? sayFailure(state.failure) : ""}
      </p>
    </>
  );
}

function sayState(state: State, local: boolean): string {
  switch (state.kind) {
    case "sending":
      return `${local ? "Reading" : "Sending"} ${state.clip.name}, ${Math.floor(state.share * 4) * 25} per cent.`;
    case "waiting":
      return `${state.clip.name} is sent. Reading face and voice.`;
    case "done": {
      const overall = sayOverall(state.answer);
      return `${overall.headline}. ${overall.sentences.join(" ")}`;
    }
    default:
      return "";
  }
}

function sayFailure({ title, detail }: Failure): string {
  return `${title}. ${detail}`;
}
