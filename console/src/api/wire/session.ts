// Who asks.

export interface Session {
  name: string;
  role: "viewer" | "operator" | "admin";
  maps: string[] | null;
  csrf_token: string | null;
  server_version: string;
}
