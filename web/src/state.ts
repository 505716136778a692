/** Where the page stands: one state, moved on by events. */

import type { Answer } from "./answer";
import type { Failure } from "./failure";

export interface Clip {
  readonly name: string;
  readonly data: Blob;
}

/** ticket: number of the sending; what belongs to an earlier one is ignored. */
export type State =
  | { readonly kind: "idle" }
  | { readonly kind: "recording" }
  | { readonly kind: "sending"; readonly ticket: number; readonly clip: Clip; readonly share: number }
  | { readonly kind: "waiting"; readonly ticket: number; readonly clip: Clip }
  | { readonly kind: "done"; readonly clip: Clip; readonly answer: Answer; readonly text: string }
  | { readonly kind: "failed"; readonly clip: Clip | null; readonly failure: Failure };

export type Event =
  | { readonly kind: "send"; readonly clip: Clip; readonly ticket: number }
  | { readonly kind: "progress"; readonly ticket: number; readonly share: number }
  | { readonly kind: "sent"; readonly ticket: number }
  | { readonly kind: "answered"; readonly ticket: number; readonly answer: Answer; readonly text: string }
  | { readonly kind: "refused"; readonly ticket: number; readonly failure: Failure }
  | { readonly kind: "record" }
  | { readonly kind: "noCamera"; readonly failure: Failure }
  | { readonly kind: "leave" };

export const START: State = { kind: "idle" };

/** The next state; an event that does not fit the state leaves it as it is. */
export function advance(state: State, event: Event): State {
  switch (event.kind) {
    case "send":
      return { kind: "sending", ticket: event.ticket, clip: event.clip, share: 0 };
    case "record":
      return isBusy(state) ? state : { kind: "recording" };
    case "noCamera":
      return state.kind === "recording" ? { kind: "failed", clip: null, failure: event.failure } : state;
    case "leave":
      return START;
  }
  if (!isBusy(state) || state.ticket !== event.ticket) return state;
  const { clip, ticket } = state;
  switch (event.kind) {
    case "progress":
      return state.kind === "sending" ? { ...state, share: Math.max(state.share, event.share) } : state;
    case "sent":
      return { kind: "waiting", ticket, clip };
    case "answered":
      return { kind: "done", clip, answer: event.answer, text: event.text };
    case "refused":
      return { kind: "failed", clip, failure: event.failure };
  }
}

/** Whether a clip is on its way. */
export function isBusy(state: State): state is Extract<State, { ticket: number }> {
  return state.kind === "sending" || state.kind === "waiting";
}
