// What a check found.

export interface Finding {
  severity: "error" | "warning";
  code: string;
  place: string;
  message: string;
  fix: string | null;
}
