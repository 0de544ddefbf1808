// Rules, and when one would have fired.

export interface Rule {
  name: string;
  enabled: boolean;
  when: string;
  action: "none" | "pause" | "stop";
  resumes_per_hour: number | null;
  notify: string[];
  watches: string[] | null;
  cooldown_seconds: number;
  maps: { map: string; holds: boolean; fired_at: string | null; resumed_within_hour: number; resumes_left: number | null }[];
  told: number;
  untold: number;
}

export interface RuleTest {
  since: string;
  until: string;
  items: { at: string; map: string; why: string }[];
  unknown: string[];
}
