import type { Answer } from "../answer";
import { writeCsv } from "../csv";

interface Props {
  name: string;
  answer: Answer;
  text: string;
}

/** The answer as files: JSON as the server sent it, CSV as the command line writes it. */
export function Downloads({ name, answer, text }: Props) {
  const stem = name.replace(/\.[^.]*$/, "") || "clip";
  return (
    <>
      <button type="button" class="button" onClick={() => save(`${stem}.json`, text, "application/json")}>
        Download JSON
      </button>
      <button type="button" class="button" onClick={() => save(`${stem}.csv`, writeCsv(name, answer), "text/csv")}>
        Download CSV
      </button>
    </>
  );
}

function save(name: string, text: string, type: string): void {
  const address = URL.createObjectURL(new Blob([text], { type }));
  const link = document.createElement("a");
  link.href = address;
  link.download = name;
  link.click();
  setTimeout(() => URL.revokeObjectURL(address), 1000); // the browser is reading it
}
