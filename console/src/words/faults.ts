// Why something failed, in front of a person: the classes of faults, and who says so.

const classes: Record<string, string> = {
  connection: "Not connected",
  unavailable: "The app cannot serve now",
  throttled: "The app asks to slow down",
  conflict: "Another transaction was in the way",
  auth: "The app refuses the sign-in",
  permission: "A right is missing",
  schema: "A table or column is missing or of another shape",
  application: "Refused by the app",
  reference: "Refers to a record that is not there",
  gap: "Gap in the source's log",
  fenced: "Another Tandem is at work",
  setup: "The app is set up in a way that cannot work",
  internal: "Something that must not happen",
};

export function faultName(name: string): string {
  return classes[name] ?? name.replaceAll("_", " ");
}

/** The cause of an error: its class, or that nobody refused it and it only waits for a word. */
export function causeName(name: string, code: string | null): string {
  return code === "preserved" ? "Kept from a queue that was skipped" : faultName(name);
}

/** The code that an app gave; none of our own. */
export function codeOf(code: string | null): string | null {
  return code === null || code === "preserved" ? null : `code ${code}`;
}
