// Values of records, as JSON has them.

export type Json = null | boolean | number | string | Json[] | { [name: string]: Json };

export type Row = Record<string, Json>;
