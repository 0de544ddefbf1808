// Why something was refused.

import type { Blocker } from "./action";
import type { Finding } from "./finding";

export interface Problem {
  status: number;
  code: string;
  title: string;
  detail: string;
  fix?: string;
  blockers?: Blocker[];
  findings?: Finding[];
}
