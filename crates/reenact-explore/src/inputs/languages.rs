//! Programs that take programs: a few well-known small languages, recognised by asking the reference for six times seven.

use crate::inputs::corpora::{Kind, plain_word};
use fastrand::Rng;

/// How a piece of code is handed over.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Form {
    /// As the only argument.
    Argument,
    /// After this option.
    Option(&'static str),
    /// After the name of a database file that need not exist.
    Database,
    /// On standard input.
    Stdin,
    /// In a file named as argument.
    File,
    /// In a file named after this option.
    FileOption(&'static str),
}

/// A language.
pub struct Language {
    pub name: &'static str,
    /// Extension of a script file.
    pub extension: &'static str,
    /// Code that prints 42 and does not contain it.
    pub probe: &'static str,
    /// Standard input of the probe.
    pub probe_input: &'static str,
    /// Kinds of data that its programs read; none for self-contained programs.
    pub data: &'static [Kind],
    pub forms: &'static [Form],
    /// Programs; `{i}` and `{j}` are small numbers, `{w}` and `{v}` words, `{o}` an arithmetic operator, `{c}` a comparison.
    pub templates: &'static [&'static str],
}

/// The languages, most specific first.
pub const LANGUAGES: &[Language] = &[LUA, SQL, JQ, AWK, DC, BC, SED];

const LUA: Language = Language {
    name: "lua",
    extension: "lua",
    probe: "print(6*7 .. '')",
    probe_input: "",
    data: &[],
    forms: &[Form::Option("-e"), Form::File, Form::Stdin],
    templates: &[
        "print({i} {o} {j})",
        "print({i} / {j}, {i} // {j}, {i} % {j})",
        "print({i} {c} {j}, not nil, {i} == '{i}')",
        "for k = {i}, {j} do io.write(k, ' ') end print()",
        "local t = {{i}, {j}, '{w}'} print(#t, t[1], t[4])",
        "print(('{w}'):upper(), ('{v}'):rep({i}, '-'))",
        "print(string.format('%5.2f|%-8s|%03d|%x', {i} / 3, '{w}', {j}, {i} * 17))",
        "print(('{w} {v}'):find('{v}'), ('{w}'):gsub('[aeiou]', '*'))",
        "for w in ('{w} {v} x'):gmatch('%a+') do print(w, #w) end",
        "local function f(n) if n < 2 then return n end return f(n-1) + f(n-2) end print(f({i} + 3))",
        "print(pcall(error, '{w}'))",
        "print(pcall(function() local x = nil; return x.y end))",
        "error('{w}')",
        "print(1 + {})",
        "local s = 0 for i = 1, {j} do s = s + i ^ 2 end print(s)",
        "print(table.concat({'{w}', '{v}', {i}}, '{w}'))",
        "local t = {'{w}', '{v}', 'm', 'a'} table.sort(t) print(table.unpack(t))",
        "print(math.floor({i}.7), math.max({i}, {j}), math.type({i}), math.type({i}.0))",
        "print(tostring(nil), tostring(true), tonumber('0x{i}'), tonumber('{w}'), tonumber('{i}', 36))",
        "print(select('#', {i}, {j}, nil), select(2, '{w}', '{v}'))",
        "goto done print('{w}') ::done:: print('{v}')",
        "local t = setmetatable({}, {__index = function(_, k) return k .. '{w}' end}) print(t.{v}, t[{i}])",
        "local co = coroutine.wrap(function() for i = 1, {i} do coroutine.yield(i * {j}) end end) print(co(), co())",
        "print(#'{w}', '{w}' < '{v}', '{w}' .. {i})",
        "print(string.byte('{w}', 1, -1))",
        "print(utf8.char(233, {i} + 64), utf8.len('né{w}'))",
        "while true do break end repeat local x = {i} until x {c} {j} print('{w}')",
        "print({i} & {j}, {i} | {j}, {i} ~ {j}, ~{i}, {i} << 3)",
        "print(os.getenv('NOPE'), type(os.time()), type(print))",
        "x = {i} y = x {o} {j} print(x, y, _G.x)",
        "return {i}, '{w}'",
        "print('{w}",
        "x = = {i}",
        "if {i} then",
        "io.stderr:write('{w}\\n') os.exit({i} % 4)",
        "print(next({}), rawlen({{i}, {j}}), rawequal('{w}', '{w}'))",
        "print(string.rep('{w}', {i}, ','):reverse())",
        "local a <const> = {i} print(a) local t = {n = {j}, ['{w}'] = 1} for _, k in ipairs({'n', '{w}'}) do print(k, t[k]) end",
        "print(load('return {i} {o} {j}')())",
        "print(load('{w} {v}'))",
        "print(math.tointeger({i}.0), {i} // 0.0, -{i} % {j}, 7 // -{i})",
        "print(string.pack('<i4', {i}):byte(1, -1))",
        "assert({i} {c} {j}, '{w}') print('held')",
        "print(table.remove({{i}, {j}, 3}), table.move({1,2,3}, 1, 3, 2)[3])",
        "print(xpcall(function() error({w = {i}}) end, function(e) return type(e) end))",
    ],
};

const SQL: Language = Language {
    name: "sql",
    extension: "sql",
    probe: "select 6*7;",
    probe_input: "",
    data: &[],
    forms: &[Form::Database, Form::Stdin, Form::Argument],
    templates: &[
        "select {i} {o} {j};",
        "select {i} / {j}, {i} % {j}, {i} {c} {j};",
        "select '{w}' || '-' || '{v}', length('{w}'), upper('{v}');",
        "create table t(a integer, b text); insert into t values({i}, '{w}'), ({j}, '{v}'), (3, null); select * from t order by a, b;",
        "create table t(a, b); insert into t values({i}, '{w}'), ({j}, '{v}'); select count(*), sum(a), avg(a), max(b), group_concat(b) from t;",
        "create table t(a primary key); insert into t values({i}); insert into t values({i});",
        "with recursive c(x) as (select 1 union all select x + 1 from c where x < {j} + 2) select x, x * {i} from c;",
        "select substr('{w}{v}', {i}, 3), replace('{w}', 'a', '{i}'), trim('  {v} '), instr('{w}', 'a');",
        "select typeof({i}), typeof('{w}'), typeof(null), typeof({i}.5), coalesce(null, '{v}');",
        "select case when {i} {c} {j} then '{w}' else '{v}' end as verdict;",
        "select * from missing_{w};",
        "selec {i};",
        "select '{w};",
        "select {i} as {w}, {j} as {v};",
        "create table t(g, n); insert into t values('{w}', {i}), ('{v}', {j}), ('{w}', 5); select g, sum(n) as s from t group by g having s > 1 order by s desc;",
        "create table a(x); create table b(x, y); insert into a values(1), (2), ({i}); insert into b values(1, '{w}'), (2, '{v}'); select a.x, b.y from a left join b on a.x = b.x order by 1;",
        "select printf('%05d|%-6s|%.2f', {i}, '{w}', {j} / 3.0);",
        "select hex('{w}'), abs(-{i}), round({j} / 7.0, 2), min({i}, {j}), max({i}, {j});",
        "select json_extract('{\"a\": [{i}, {j}]}', '$.a[1]'), json_array({i}, '{w}'), json_object('{v}', {j});",
        "create view v as select {i} as n; select n * 2 from v; drop view v;",
        "create table t(a); begin; insert into t values({i}); rollback; select count(*) from t;",
        "create table t(a check(a < {i})); insert into t values({j} + {i});",
        "select distinct x from (select {i} as x union all select {i} union all select {j});",
        "select date('2020-01-{i}0'), strftime('%j', '2020-03-0{i}'), julianday('2000-01-01');",
        "create table t(a, b); create index i_{w} on t(a); insert into t values({i}, {j}); explain query plan select * from t where a = {i};",
        ".mode csv\nselect {i}, '{w}, {v}';",
        ".headers on\nselect {i} as {w}, '{v}' as b;",
        ".mode line\nselect {i} as {w}, {j} as {v};",
        "create table {w}(a, b text not null);\n.tables\n.schema",
        ".mode json\nselect '{w}' as a, {i} as b;",
        ".mode insert\nselect {i}, '{w}';",
        ".nosuch {w}",
        "select {i} in (1, 2, {j}), '{w}' like '%a%', '{v}' glob '*e*', {i} between 1 and {j};",
        "select row_number() over (order by x), x from (values({i}), ({j}), (9)) as t(x);",
        "values({i}, '{w}'), ({j}, '{v}');",
        "pragma table_info({w});",
        "select quote('{w}''s'), quote(null), quote(x'0{i}'), unicode('{v}'), char(6{i});",
    ],
};

const JQ: Language = Language {
    name: "jq",
    extension: "jq",
    probe: "[6*7]|.[0]",
    probe_input: "1\n",
    data: &[Kind::Json, Kind::JsonLines],
    forms: &[Form::Argument, Form::FileOption("-f")],
    templates: &[
        ".",
        ".[0]",
        ".name",
        ".[] | .id?",
        "length",
        "keys?",
        "map(.)?",
        ".[]?",
        "..",
        "type",
        "[.. | numbers]",
        "[.. | strings | length]",
        "to_entries?",
        "tojson",
        "[paths]",
        "(.. | select(type == \"number\")) |= . {o} {i}",
        "{i} {o} {j}",
        "[limit({i}; range({j} + 2))]",
        "if type == \"array\" then length else \"{w}\" end",
        "try error(\"{w}\") catch .",
        "error(\"{w}\")",
        "[.[]? | select(.size? > {i}0)]",
        "map(.size)? | add",
        "sort_by(.name)?",
        "group_by(.sub.ok)? | map(length)",
        "[.[]?.name?] | join(\"{w}\")",
        "{a: ., b: {i}}",
        "{({w}): 1}",
        "{\"{w}\": type}",
        "\"x\\({i} {o} {j})y\"",
        ".[{i}:]?",
        ".[-1]?",
        "first(.[]?)",
        "reduce range({j}) as $i (0; . + $i * {i})",
        "[foreach range({j}) as $i (0; . + $i)]",
        "def f(x): x * {i}; f({j})",
        "[recurse(if . < {i} then . + 1 else empty end)]?",
        "\"{w} {v}\" | split(\" \")",
        "\"{w}\" | test(\"[aeiou]\")",
        "\"{w}{v}\" | [match(\"[a-e]\"; \"g\").offset]",
        "\"{w}\" | sub(\"(?<x>[a-m])\"; \"<\\(.x)>\")",
        "\"{w}\" | ascii_upcase, ltrimstr(\"a\"), explode",
        "@base64 \"{w}\"",
        "[.[]?] | @json",
        "\"{w},{v}\" | @csv?",
        "[\"{w}\", {i}] | @csv, @tsv, @html, @sh",
        "({i}, {j}) | sqrt | floor",
        "[{i}, null, \"{w}\", [], {}] | sort",
        "[{i}, {j}, {i}] | unique, min, max, index({j})",
        "del(.[0]?)",
        "del(.name)?",
        "has(\"name\")?",
        "any, all",
        "flatten?",
        "tostream",
        "[splits(\"a\")]?",
        "input",
        "[inputs]",
        ".a.b.c?",
        ".a = {i}",
        ".[\"{w}\"]?",
        ". as $x | [$x, $x] | length",
        ". as [$a, $b] | $b",
        "{i} as $x | {j} as $y | [$x, $y, $x {o} $y]",
        "$__loc__",
        "env | type",
        "[.[] | tostring]",
        "map_values(tostring)?",
        "with_entries(.value |= tostring)?",
        "path(..)",
        "getpath([\"a\", \"b\"])?",
        "leaf_paths",
        "infinite, nan | tostring",
        "\"{i}\" | tonumber",
        "\"{w}\" | tonumber",
        "ascii",
        ". {o}",
        "{w}",
        "{i} {o} \"{w}\"",
        "[1, 2] - [{i}]",
        "{} + {a: {i}} * {a: {b: {j}}}",
        "[range({i}; {j}; 2)]",
        "splits",
        "transpose?",
        "[\"{w}\", \"{v}\"] | combinations?",
        "label $out | 1, break $out, 2",
        "\"2015-03-05T23:51:47Z\" | fromdate",
        "{i}000000000 | todate",
        "input_line_number",
        "ltrimstr({i})",
        "limit(1; .[]?)",
        "until(. > 100; . * 2)?",
        "walk(if type == \"number\" then . + {i} else . end)",
        "isvalid(.a)?",
        "tojson | fromjson",
        "implode?",
        "@text \"a\\(.)\"",
        "@uri \"{w} {v}&\"",
        "contains({})?",
        "inside([{i}])?",
        "bsearch({i})?",
        "ascii_downcase?",
        "utf8bytelength?",
    ],
};

const AWK: Language = Language {
    name: "awk",
    extension: "awk",
    probe: "{print $1*7}",
    probe_input: "6\n",
    data: &[Kind::Text, Kind::Csv, Kind::Numbers],
    forms: &[Form::Argument, Form::FileOption("-f")],
    templates: &[
        "{print $1}",
        "{print NR, NF, $0}",
        "BEGIN{print {i} {o} {j}}",
        "END{print NR}",
        "/a/",
        "!/e/{print toupper($0)}",
        "{s += $1} END{print s}",
        "NR {c} {i}",
        "length($0) > {i}0",
        "{print substr($0, {i}, {j})}",
        "{gsub(/[aeiou]/, \"*\"); print}",
        "BEGIN{FS=\",\"} {print $2}",
        "{print $NF}",
        "BEGIN{printf \"%05d|%-5s|%.2f\\n\", {i}, \"{w}\", {j}/3}",
        "{n[$1]++} END{print length(n)}",
        "{for (k = NF; k > 0; k--) printf \"%s \", $k; print \"\"}",
        "BEGIN{while (x < {i}) print x++}",
        "BEGIN{print index(\"{w}\", \"a\"), split(\"a b c\", q), q[2], match(\"{v}\", /e/)}",
        "NR=={i},NR=={j}",
        "BEGIN{exit {i}}",
        "BEGIN{print \"{w}\" {i} > \"/dev/stderr\"}",
        "{print",
        "BEGIN{print 1/0}",
        "function f(x) {return x * {i}} BEGIN{print f({j})}",
        "BEGIN{OFS=\"-\"} {$1=$1} 1",
        "BEGIN{print -{i} % {j}, {i} ^ 2, !{i}, {i} && 0}",
        "$1 ~ /^[0-9]+$/{c++} END{print c+0}",
        "BEGIN{getline l; print \"got\", l}",
        "{$2 = \"{w}\"; print; print NF}",
        "BEGIN{print tolower(\"ABC\"), sprintf(\"%c\", 65 + {i}), int({i}.9)}",
    ],
};

const DC: Language = Language {
    name: "dc",
    extension: "dc",
    probe: "6 7*p",
    probe_input: "",
    data: &[],
    forms: &[Form::Option("-e"), Form::Stdin],
    templates: &[
        "{i} {j} {o} p",
        "{i} {j} + p {i} * p",
        "2 k {i} {j} / p",
        "{i} {j} % p",
        "{i} v p",
        "[{w}] p",
        "{i} d * p",
        "{i} {j} r f",
        "16 o {i}{j} p",
        "2 i 101 p",
        "{i} sa {j} la + p",
        "{i} {j} ^ p",
        "[la 1 + d sa p {i} >b] sb 0 sa lb x",
        "{i} 0 / p",
        "z p",
        "{i} {j} {i} c f",
        "q",
        "{i} Z p",
        "5 k {j} v p",
        "+",
        "{i} n {j} n 10 P",
    ],
};

const BC: Language = Language {
    name: "bc",
    extension: "bc",
    probe: "6*7\n",
    probe_input: "",
    data: &[],
    forms: &[Form::Stdin, Form::File, Form::Argument],
    templates: &[
        "{i} {o} {j}",
        "{i} / {j}",
        "scale=4; {i} / {j}",
        "{i} ^ {j}",
        "{i} % {j}",
        "sqrt({i}0)",
        "x = {i}; x += {j}; x",
        "for (k = 0; k < {i}; k++) k * {j}",
        "define f(n) { if (n < 2) return (n); return (f(n-1) + f(n-2)); }\nf({i} + 4)",
        "({i} {o} {j}) * -{i}",
        "obase=16; {i}{j}{i}",
        "ibase=2; 1011",
        "{i} {c} {j}",
        "length({i}{j}.{i})",
        "scale({i}.{j}{j})",
        "print \"{w} \", {i}, \"\\n\"",
        "\"{w}\n\"",
        "{i} / 0",
        "{i} {o}",
        "a[{i}] = {j}; a[{i}] + a[0]",
        "while (x < {i}) { x = x + 1; if (x == 2) continue; x }",
        "2 ^ {i}{j}",
        "scale=10; {i} / 3.{j}",
        "last; {i}; last + 1",
        "if ({i} {c} {j}) \"yes\" else \"no\"",
        "/* {w} */ {i} # {v}",
        "++x; x++; x--; --x",
        "!{i}; {i} && 0; 0 || {j}",
        "99999999999999999999 * {i}{j}",
        "-{i}.50 * {j}.250",
    ],
};

const SED: Language = Language {
    name: "sed",
    extension: "sed",
    probe: "s/x/42/",
    probe_input: "x\n",
    data: &[Kind::Text, Kind::Csv, Kind::Log],
    forms: &[Form::Argument, Form::Option("-e"), Form::FileOption("-f")],
    templates: &[
        "s/a/{w}/",
        "s/[aeiou]/*/g",
        "{i}d",
        "{i},{j}d",
        "$d",
        "/e/d",
        "{i}q",
        "s/\\(a\\)\\(.\\)/\\2\\1/",
        "y/abc/xyz/",
        "{i}a\\\n{w}",
        "{i}i\\\n{w}",
        "/a/c\\\n{v}",
        "s/a/&&/{i}",
        "n;d",
        "$!N;s/\\n/ /",
        "=",
        "G",
        "1!G;h;$!d",
        "/a/,/e/s/^/> /",
        "s/ *$//",
        "l",
        "s/x/",
        "{i}!s/^/-/",
        "{",
        "k",
        "s/./\\U&/",
        "/^$/d",
        "p",
        "N;P;D",
        "s/a/b/w out.txt",
        "{i}~2d",
        "0,/a/d",
        ":a;s/aa/a/;ta",
        "b;s/a/b/",
        "x;p;x",
        "s/[0-9]\\+/<&>/gp",
    ],
};

impl Language {
    /// A program: a template with its placeholders filled.
    pub fn program(&self, template: &str, rng: &mut Rng) -> String {
        let operators = ["+", "-", "*"];
        let comparisons = ["<", ">", "<=", ">=", "=="];
        template
            .replace("{i}", &rng.u32(1..9).to_string())
            .replace("{j}", &rng.u32(1..9).to_string())
            .replace("{w}", plain_word(rng))
            .replace("{v}", plain_word(rng))
            .replace("{o}", operators[rng.usize(..3)])
            .replace("{c}", comparisons[rng.usize(..5)])
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn probes_do_not_contain_their_answer_unless_data_carries_it() {
        for language in LANGUAGES.iter().filter(|l| l.name != "sed") {
            assert!(!language.probe.contains("42"), "{}", language.name);
            assert!(language.templates.len() >= 20, "{}", language.name);
        }
    }

    #[test]
    fn placeholders_are_filled() {
        let mut rng = Rng::with_seed(5);
        for language in LANGUAGES {
            for template in language.templates {
                let program = language.program(template, &mut rng);
                for open in ["{i}", "{j}", "{w}", "{v}", "{o}", "{c}"] {
                    assert!(!program.contains(open), "{program}");
                }
            }
        }
    }
}
