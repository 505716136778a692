/** What the page and its worker say to each other. */

/** address: of the page. */
export interface Question {
  readonly address: string;
  readonly name: string;
  readonly file: Blob;
}

export type Reply =
  | { readonly kind: "progress"; readonly share: number }
  | { readonly kind: "answered"; readonly text: string }
  | { readonly kind: "refused"; readonly reason: string; readonly cause: string }
  | { readonly kind: "incomplete"; readonly cause: string }
  | { readonly kind: "failed"; readonly cause: string };
