// Entries of the activity log.

export interface Activity {
  id: number;
  at: string;
  event: string;
  map: string | null;
  actor: string;
  reason: string;
  from: string | null;
  to: string | null;
  detail: string;
}
