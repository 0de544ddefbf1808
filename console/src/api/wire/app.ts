// Apps.

export interface App {
  name: string;
  capturing: boolean;
  fault: { class: string; message: string; code: string | null; fix: string | null } | null;
  guards: { table: string; map: string; refuses: "deletes" | "writes"; since: string }[];
}
