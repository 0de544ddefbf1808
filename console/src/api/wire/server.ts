// The server itself.

import type { Finding } from "./finding";

export interface Server {
  version: string;
  tls: boolean;
  certificate_expires_at: string | null;
  findings: Finding[];
}
