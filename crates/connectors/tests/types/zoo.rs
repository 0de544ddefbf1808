//! The types, and values at their edges, as users write them.

#[derive(Clone, Copy)]
pub(crate) enum Engine {
    Postgres,
    Sqlite,
}

/// A type of the source, one of the destination, and literals of the source.
pub(crate) struct Case {
    pub(crate) from: &'static str,
    pub(crate) to: &'static str,
    pub(crate) values: &'static [&'static str],
}

const fn case(from: &'static str, to: &'static str, values: &'static [&'static str]) -> Case {
    Case { from, to, values }
}

/// Types of users' own.
pub(crate) const POSTGRES_TYPES: &str = "CREATE TYPE mood AS ENUM ('sad', 'so so', 'q''s');
    CREATE DOMAIN percent AS numeric(5,2) CHECK (VALUE BETWEEN 0 AND 100);
    CREATE TYPE pair AS (a int, b text);";

const INTEGERS: &[&str] = &["0", "-9223372036854775808", "9223372036854775807", "NULL"];
const TRUTHS: &[&str] = &["true", "false", "NULL"];
const NUMBERS: &[&str] = &[
    "'NaN'",
    "'Infinity'",
    "'-Infinity'",
    "1.10",
    "0.000",
    "-0.5",
    "123456789012345678901234567890.0000000001000",
    "1e-100",
    "1e300",
    "12",
    "NULL",
];
const DOUBLES: &[&str] =
    &["'-0'", "'NaN'", "'Infinity'", "'-Infinity'", "5e-324", "1.7976931348623157e308", "0.1", "1", "NULL"];
const SINGLES: &[&str] = &["0.1", "'Infinity'", "1e-45", "16777216", "NULL"];
const TEXTS: &[&str] =
    &["''", "'null'", "'007'", "' 1e3 '", "U&'\\+01D11E' || E'\\n\"q\"'", "E'\\\\x00'", "NULL"];
const BYTES: &[&str] = &["''", "'\\x00ff5c'", "NULL"];
const DATES: &[&str] =
    &["'2024-02-29'", "'infinity'", "'-infinity'", "'4713-01-01 BC'", "'5874897-12-31'", "NULL"];
const TIMES: &[&str] = &["'24:00:00'", "'00:00:00.000001'", "'12:30'", "NULL"];
const TIMES_TZ: &[&str] = &["'24:00:00-15:59'", "'01:02:03.5+00'", "NULL"];
const STAMPS: &[&str] = &[
    "'2024-02-29 12:00:00.5'",
    "'infinity'",
    "'-infinity'",
    "'294276-12-31 23:59:59.999999'",
    "'0001-01-01 00:00:00 BC'",
    "'1900-01-01'",
    "NULL",
];
const MOMENTS: &[&str] = &[
    "'2026-03-29 02:30:00+01'",
    "'infinity'",
    "'-infinity'",
    "'294276-12-31 23:59:59.999999+00'",
    "'0044-03-15 12:00:00+00 BC'",
    "'1850-01-01 00:00:00+00:53:28'",
    "NULL",
];
const INTERVALS: &[&str] = &["'0'", "'10 months 3 days -3:55:06.7'", "'178000000 years'", "NULL"];
const UUIDS: &[&str] = &["'A0EEBC99-9C0B-4EF8-BB6D-6BB9BD380A11'", "NULL"];
const JSONS: &[&str] =
    &["'{\"b\": 1.10, \"b\" :2, \"a\": null}'", "'null'", "'\"\\u00e4\"'", "'[1e400, -0.0, []]'", "NULL"];
const JSONBS: &[&str] = &["'{\"b\": 1.10, \"a\": [null, true, \"x\"]}'", "'null'", "'1e3'", "NULL"];
const ARRAYS: &[&str] = &["'{}'", "'{1,NULL,3}'", "'{{1,2},{3,4}}'", "'[0:1]={1,2}'", "NULL"];
const TEXT_ARRAYS: &[&str] = &["'{\"\",NULL,\"NULL\",\"a,b\",\"q\\\"\",\"\\\\\"}'", "NULL"];
const RANGES: &[&str] = &["'empty'", "'[1,5)'", "'(,)'", "NULL"];
const MOODS: &[&str] = &["'sad'", "'so so'", "'q''s'", "NULL"];
const PERCENTS: &[&str] = &["0", "99.50", "NULL"];
const PAIRS: &[&str] = &["'(1,\"a b\")'", "'(,)'", "NULL"];
const NETS: &[&str] = &["'10.0.0.1/8'", "'::1'", "NULL"];

pub(crate) const POSTGRES_TO_POSTGRES: &[Case] = &[
    case("smallint", "smallint", &["-32768", "32767", "NULL"]),
    case("integer", "integer", &["-2147483648", "2147483647", "NULL"]),
    case("bigint", "bigint", INTEGERS),
    case("bigint", "integer", INTEGERS),
    case("bigint", "numeric", INTEGERS),
    case("bigint", "double precision", INTEGERS),
    case("bigint", "text", INTEGERS),
    case("boolean", "boolean", TRUTHS),
    case("numeric", "numeric", NUMBERS),
    case("numeric(12,2)", "numeric(12,2)", &["1.10", "-9999999999.99", "'NaN'", "NULL"]),
    case("numeric", "numeric(12,2)", NUMBERS),
    case("numeric", "double precision", NUMBERS),
    case("numeric", "bigint", NUMBERS),
    case("numeric", "text", NUMBERS),
    case("double precision", "double precision", DOUBLES),
    case("real", "real", SINGLES),
    case("real", "double precision", SINGLES),
    case("double precision", "real", DOUBLES),
    case("double precision", "numeric", DOUBLES),
    case("text", "text", TEXTS),
    case("text", "varchar(3)", TEXTS),
    case("varchar(10)", "text", &["'ab '", "''", "NULL"]),
    case("char(3)", "char(3)", &["'a'", "'abc'", "NULL"]),
    case("text", "char(3)", &["'a'", "'ab '", "'abcd'", "NULL"]),
    case("bytea", "bytea", BYTES),
    case("bytea", "text", BYTES),
    case("text", "bytea", TEXTS),
    case("date", "date", DATES),
    case("time", "time", TIMES),
    case("time with time zone", "time with time zone", TIMES_TZ),
    case("timestamp without time zone", "timestamp without time zone", STAMPS),
    case("timestamp without time zone", "timestamp(0) without time zone", STAMPS),
    case("timestamp with time zone", "timestamp with time zone", MOMENTS),
    case("interval", "interval", INTERVALS),
    case("uuid", "uuid", UUIDS),
    case("json", "json", JSONS),
    case("json", "jsonb", JSONS),
    case("jsonb", "jsonb", JSONBS),
    case("integer[]", "integer[]", ARRAYS),
    case("text[]", "text[]", TEXT_ARRAYS),
    case("int4range", "int4range", RANGES),
    case("mood", "mood", MOODS),
    case("mood", "text", MOODS),
    case("text", "mood", &["'sad'", "'happy'"]),
    case("percent", "percent", PERCENTS),
    case("numeric", "percent", &["5.5", "101", "5.555"]),
    case("pair", "pair", PAIRS),
    case("inet", "inet", NETS),
    case("xml", "xml", &["'<a>1</a>'", "NULL"]),
];

pub(crate) const POSTGRES_TO_SQLITE: &[Case] = &[
    case("bigint", "INTEGER", INTEGERS),
    case("bigint", "REAL", INTEGERS),
    case("bigint", "TEXT", INTEGERS),
    case("boolean", "BOOLEAN", TRUTHS),
    case("boolean", "INTEGER", TRUTHS),
    case("numeric", "TEXT", NUMBERS),
    case("numeric", "NUMERIC", NUMBERS),
    case("double precision", "REAL", DOUBLES),
    case("real", "REAL", SINGLES),
    case("text", "TEXT", TEXTS),
    case("text", "VARCHAR(3)", TEXTS),
    case("text", "NUMERIC", TEXTS),
    case("char(3)", "TEXT", &["'a'", "'abc'", "NULL"]),
    case("bytea", "BLOB", BYTES),
    case("date", "TEXT", DATES),
    case("date", "DATE", DATES),
    case("time", "TEXT", TIMES),
    case("timestamp without time zone", "TEXT", STAMPS),
    case("timestamp without time zone", "DATETIME", STAMPS),
    case("timestamp with time zone", "TEXT", MOMENTS),
    case("interval", "TEXT", INTERVALS),
    case("uuid", "TEXT", UUIDS),
    case("json", "TEXT", JSONS),
    case("jsonb", "TEXT", JSONBS),
    case("integer[]", "TEXT", ARRAYS),
    case("text[]", "TEXT", TEXT_ARRAYS),
    case("int4range", "TEXT", RANGES),
    case("mood", "TEXT", MOODS),
    case("percent", "TEXT", PERCENTS),
    case("pair", "TEXT", PAIRS),
    case("inet", "TEXT", NETS),
];

const LITE_INTEGERS: &[&str] = &["0", "-9223372036854775808", "9223372036854775807", "'abc'", "NULL"];
const LITE_FLOATS: &[&str] = &["0.1", "5e-324", "1e308", "9e999", "1.0", "-0.0", "NULL"];
const LITE_TEXTS: &[&str] =
    &["''", "'007'", "'a' || char(0) || 'b'", "char(119070)", "'null'", "CAST(x'ff' AS TEXT)", "NULL"];
const LITE_BLOBS: &[&str] = &["x''", "x'00ff27'", "'text in a blob'", "NULL"];
const LITE_NUMBERS: &[&str] =
    &["5", "1.5", "'1.10'", "'123456789012345678901234567890'", "'not a number'", "NULL"];

pub(crate) const SQLITE_TO_POSTGRES: &[Case] = &[
    case("INTEGER", "bigint", LITE_INTEGERS),
    case("INTEGER", "smallint", &["32767", "32768", "NULL"]),
    case("INTEGER", "boolean", &["0", "1", "2", "NULL"]),
    case("INTEGER", "text", &["7", "NULL"]),
    case("BOOLEAN", "boolean", &["0", "1", "2", "NULL"]),
    case("REAL", "double precision", LITE_FLOATS),
    case("REAL", "numeric", LITE_FLOATS),
    case("REAL", "real", LITE_FLOATS),
    case("TEXT", "text", LITE_TEXTS),
    case("TEXT", "varchar(3)", &["'abc'", "'abcd'", "NULL"]),
    case("TEXT", "numeric", LITE_NUMBERS),
    case("NUMERIC", "numeric", LITE_NUMBERS),
    case("BLOB", "bytea", LITE_BLOBS),
    case("TEXT", "date", &["'2024-02-29'", "'2024-02-30'", "NULL"]),
    case("TEXT", "timestamp without time zone", &["'2024-02-29 12:00:00.50'", "'soon'", "NULL"]),
    case("DATETIME", "timestamp without time zone", &["'2024-02-29T12:00:00'", "1709208000", "NULL"]),
    case(
        "TEXT",
        "timestamp with time zone",
        &["'2024-02-29 12:00:00+01:00'", "'2024-02-29T12:00:00Z'", "NULL"],
    ),
    case("TEXT", "uuid", &["'A0EEBC99-9C0B-4EF8-BB6D-6BB9BD380A11'", "'x'", "NULL"]),
    case("TEXT", "jsonb", &["'{\"b\": 1.10, \"a\": [1]}'", "'{'", "NULL"]),
    case("TEXT", "integer[]", &["'{1,NULL}'", "'[1]'", "NULL"]),
    case("TEXT", "mood", &["'sad'", "'happy'", "NULL"]),
    case("", "text", &["'1'", "x'31'", "NULL"]),
];

pub(crate) const SQLITE_TO_SQLITE: &[Case] = &[
    case("INTEGER", "INTEGER", LITE_INTEGERS),
    case("REAL", "REAL", LITE_FLOATS),
    case("TEXT", "TEXT", LITE_TEXTS),
    case("BLOB", "BLOB", LITE_BLOBS),
    case("NUMERIC", "NUMERIC", LITE_NUMBERS),
    case("TEXT", "NUMERIC", LITE_NUMBERS),
    case("BOOLEAN", "INTEGER", &["0", "1", "2", "NULL"]),
    case("", "", &["1", "1.5", "'1'", "x'31'", "NULL"]),
];
