"""Invocations of a Lua interpreter, made by templates from a seed: what a generated ProgramBench suite asks of a program.

Each maker yields (name, argv, stdin, files). What the program has to answer is found by asking the real one (suite.py).
"""

import random

WORDS = "alpha beta gamma delta epsilon zeta eta theta iota kappa lambda mu nu xi omicron pi rho sigma tau".split()


def quoted(text):
    return '"' + text.replace("\\", "\\\\").replace('"', '\\"').replace("\n", "\\n") + '"'


def e(code):
    return ["-e", code], "", {}


def script(code):
    return ["-"], code, {}


def arithmetic(rng, i):
    a, b = rng.randint(-999, 999), rng.choice([-17, -3, 2, 5, 7, 11, 64])
    x = rng.choice(["{a} // {b}, {a} % {b}", "{a} / {b}", "{a} * {b} - {c}", "({a} + {c}) * {b}", "{a} | {c}, {a} & {c}, {a} ~ {b}",
                    "{a} << {s}, {a} >> {s}", "2 ^ {s}, {a} ^ 2", "{a}.5 // {b}", "math.tointeger({a}.0), math.type({a}.0)",
                    "math.max({a}, {b}, {c}), math.min({a}, {b}, {c})", "math.fmod({a}, {b})", "math.abs({a}), math.floor({a} / {b})",
                    "tostring({a} == {c}), {a} < {b}", "0x{s}F + {a}", "{a} % -{s}1.5", "math.ult({a}, {b})", "#tostring({a}) + {c}"])
    return e("print(%s)" % x.format(a=a, b=b, c=rng.randint(1, 500), s=rng.randint(1, 9)))


def text(rng, i):
    w, v = rng.choice(WORDS), rng.choice(WORDS)
    n, m = rng.randint(-6, 6), rng.randint(1, 9)
    x = rng.choice(["({w}):upper(), ({v}):rep({m}, '-')", "({w}):sub({n}, {m})", "({w}):reverse() .. {v}", "#({w} .. {v}) * {m}", "({w}):byte(1, {m})",
                    "({w} .. {v}):find({v}, 1, true)", "string.char(({w}):byte(1) + {m} % 5), {m}", "({w}):len(), {w} < {v}", "({w}):gsub('a', '{m}')",
                    "table.concat({{({w}):byte(1, -1)}}, ':')", "{w} .. {m} .. {n}.5", "tostring({w} == {v}), {m} .. ''", "utf8.len({w} .. 'é'), {m}",
                    "utf8.char(96{m}, 97{m})", "select('#', ({w}):byte({n}, -1)), {v}", "load('return ' .. #{w} .. ' + {m}')()"])
    return e("print(%s)" % x.format(w=quoted(w), v=quoted(v), n=n, m=m))


def formatted(rng, i):
    spec = rng.choice(["%5d|", "%-8d|", "%05d|", "%+d|", "%x|", "%X|", "%#x|", "%o|", "%c|", "%i|"])
    real = rng.choice(["%.2f|", "%10.3f|", "%g|", "%e|", "%-12.4g|", "%a|", "%.0f|"])
    s = rng.choice(["%s|", "%10s|", "%-10s|", "%.3s|", "%q|", "%%%s|"])
    k, r, w = rng.randint(33, 126), rng.uniform(-1000, 1000), rng.choice(WORDS)
    return e("io.write(string.format('%s%s%s\\n', %d, %.4f, %s))" % (spec, real, s, k, r, quoted(w + " " + str(i))))


def patterns(rng, i):
    subject = " ".join(rng.sample(WORDS, 4)) + " %d=%d" % (i, rng.randint(10, 99))
    call = rng.choice(["string.gsub(s, '%a+', string.upper, {m})", "string.find(s, '(%w+)=(%d+)')", "string.match(s, '^(%a+)%s+(%a+)')", "string.gsub(s, '[aeiou]', {{a='A', e='E'}})",
                       "string.gsub(s, '(%a)(%a)', '%2%1')", "s:match('%d+$'), s:match('%f[%w]%a+', {m})", "s:gsub('%s+', '_', {m})", "s:find('t', {m}, true)",
                       "string.match(s, '([^ ]*) *$'), {m}", "s:gsub('', '.', {m})", "s:gsub('%w+', function(w) return #w > {m} and w or nil end)", "s:match('(.-)%s'), #s + {m}",
                       "s:gsub('(%a+) (%a+)', '<%2 %1>')", "pcall(string.find, s, '[a')"])
    return e("local s = %s print(%s)" % (quoted(subject), call.format(m=rng.randint(1, 6))))


def tables(rng, i):
    values = [rng.randint(0, 200) for _ in range(rng.randint(5, 12))]
    body = rng.choice(["table.sort(t) print(table.concat(t, ' '))", "table.sort(t, function(a, b) return a > b end) print(table.concat(t, ','))", "table.remove(t, 2) table.insert(t, 1, {m}) print(#t, t[1], t[#t])",
                       "print(table.unpack(t, 2, 4))", "print(table.concat(table.move(t, 1, 3, 3), ' '))", "local s = 0 for _, v in ipairs(t) do s = s + v end print(s, s / #t)", "print(select(-2, table.unpack(t)))",
                       "local p = table.pack(table.unpack(t)) print(p.n, p[p.n])", "t[#t + 1] = {m} for k, v in ipairs(t) do io.write(k, '=', v, ' ') end print()", "local m = {{}} for _, v in ipairs(t) do m[v % {d}] = (m[v % {d}] or 0) + 1 end for k = 0, {d} - 1 do io.write(m[k] or 0, ' ') end print()",
                       "print(next({{}}), rawlen(t), #t, rawequal(t, t), {m})"])
    return e("local t = {%s} %s" % (", ".join(map(str, values)), body.format(m=rng.randint(1, 99), d=rng.randint(2, 5))))


def programs(rng, i):
    n, k = rng.randint(5, 40), rng.randint(2, 9)
    body = rng.choice([
        "local function fib(n) if n < 2 then return n end return fib(n - 1) + fib(n - 2) end\nprint(fib({f}), {n})",
        "for i = 1, {n} do\n  if i % {k} == 0 then io.write('x') else io.write(i) end\nend\nprint()",
        "local s = {{}}\nfor i = 2, {n} * 3 do\n  local p = true\n  for j = 2, i - 1 do if i % j == 0 then p = false break end end\n  if p then s[#s + 1] = i end\nend\nprint(#s, s[#s], {k})",
        "local n, c = {n}, 0\nwhile n ~= 1 do n = n % 2 == 0 and n // 2 or 3 * n + 1 c = c + 1 end\nprint(c, {k})",
        "local function gcd(a, b) return b == 0 and a or gcd(b, a % b) end\nprint(gcd({n} * {k}, {k} * 6), {n})",
        "local t = setmetatable({{}}, {{__index = function(_, k) return k * {k} end, __call = function(self, x) return self[x] + 1 end}})\nprint(t[{n}], t({n}))",
        "local co = coroutine.wrap(function(a) while true do a = coroutine.yield(a * {k}) end end)\nprint(co({n}), co(2), co(3))",
        "local V = {{}} V.__index = V\nV.__add = function(a, b) return setmetatable({{x = a.x + b.x}}, V) end\nV.__tostring = function(v) return 'V(' .. v.x .. ')' end\nprint(tostring(setmetatable({{x = {n}}}, V) + setmetatable({{x = {k}}}, V)))",
        "for i = {n}, 1, -{k} do io.write(i, ';') end\nprint()",
        "do local i = 0 ::top:: i = i + {k} if i < {n} then goto top end print(i) end",
        "local ok, err = pcall(function() local t = nil; return t.x + {n} end)\nprint(ok, err)",
        "local function count() local c = {n} return function() c = c + {k} return c end end\nlocal f = count() f()\nprint(f(), f())",
        "print(string.rep('*', {k}) .. ' ' .. {n})\nlocal a <const> = {n}\nprint(a // {k})",
    ])
    return script(body.format(n=n, k=k, f=rng.randint(3, 16)) + "\n")


def failures(rng, i):
    w, n = rng.choice(WORDS), rng.randint(1, 60)
    body = rng.choice(["error('{w} {n}')", "error({{code = {n}}})", "local x = nil; x.{w} = {n}", "return {n} + {{}}", "os.exit({n})", "io.stderr:write('{w}{n}\\n') os.exit(false)", "{w}(",
                       "assert({n} < 0, '{w}')", "error('{w}', 0)", "x = = {n}", "string.rep()", "for i = 1, 10, 0 do end", "print(('{w}') + {n})", "goto {w}{n}", "local t <const> = {n}; t = 1", "require '{w}{n}'"])
    code = body.format(w=w, n=n)
    return rng.choice([e("print('before %d') " % i + code), script("print(%d)\n%s\n" % (i, code))])


def command_line(rng, i):
    w, v, n = rng.choice(WORDS), rng.choice(WORDS), rng.randint(1, 99)
    main = {"main.lua": "print(#arg, arg[0], table.concat(arg, '|'), ...)\n"}
    module = {"%s.lua" % w: "return {name = '%s', twice = function(x) return 2 * x end}\n" % w}
    return rng.choice([
        (["main.lua", w, v, str(n)], "", main),
        (["--", "main.lua", "-%s" % w, str(n)], "", main),
        (["-e", "x = %d" % n, "-e", "print(x, _VERSION)"], "", {}),
        (["-e", "a = '%s'" % w, "main.lua", str(n)], "", {"main.lua": "print(a, ...)\n"}),
        (["-l", w, "-e", "print(%s.name, %s.twice(%d))" % (w, w, n)], "", module),
        (["-v", "-e", "print(%d)" % n], "", {}),
        (["-W", "-e", "warn('%s') print(%d)" % (w, n)], "", {}),
        (["-", w, str(n)], "print(arg[1], arg[2], ...)\n", {}),
        (["-e", "print(arg[0], arg[-1], %d)" % n], "", {}),
        (["-E", "-e", "print(os.getenv('LUA_INIT'), %d)" % n], "", {}),
        (["no-%s-%d.lua" % (w, n)], "", {}),
        (["-z%d" % n], "", {}),
        (["-i"], "print(%d)\n= %d\n" % (n, n), {}),
        (["-l", "no_%s" % w], "", {}),
    ])


def files(rng, i):
    lines = "".join("%s %d\n" % (rng.choice(WORDS), rng.randint(1, 99)) for _ in range(rng.randint(3, 9)))
    code = rng.choice([
        "for l in io.lines('in.txt') do print(#l, l) end", "local f = io.open('in.txt') print(f:read('n', 'l', 'L')) f:close()", "local s = 0 for l in io.lines('in.txt') do s = s + tonumber(l:match('%d+')) end print(s)",
        "local f = assert(io.open('in.txt', 'rb')) print(f:seek('end'), f:seek('set', {n}), f:read({n}))", "io.input('in.txt') print(io.read('a'))", "print(io.open('absent{n}.txt'))",
        "local f = io.open('out.txt', 'w') f:write('{n}', '\\n') f:close() print(io.open('out.txt'):read('a'))", "local t = {{}} for w in io.lines('in.txt', {n}) do t[#t + 1] = w end print(#t, t[1])", "print(pcall(dofile, 'in.txt'))",
        "print(loadfile('in.txt') == nil, {n})", "for w, k in io.open('in.txt'):read('a'):gmatch('(%a+) (%d+)') do io.write(k, w, ' ') end print({n})",
    ])
    return ["main.lua"], "", {"in.txt": lines, "main.lua": code.format(n=rng.randint(1, 12)) + "\n"}


# module → (maker, share of the tests in percent)
MODULES = {
    "test_arithmetic": (arithmetic, 16),
    "test_command_line": (command_line, 8),
    "test_errors": (failures, 8),
    "test_files": (files, 8),
    "test_format": (formatted, 12),
    "test_patterns": (patterns, 12),
    "test_programs": (programs, 12),
    "test_strings": (text, 12),
    "test_tables": (tables, 12),
}


def make(seed, tests):
    """Gives module → [(name, argv, stdin, files)], each invocation once."""
    seen, suite = set(), {}
    for module, (maker, share) in MODULES.items():
        rng, cases = random.Random(f"{seed}/{module}"), []
        tries = 0
        while len(cases) < tests * share // 100 and tries < tests * 20:
            tries += 1
            argv, stdin, needed = maker(rng, len(cases))
            key = repr((argv, stdin, sorted(needed.items())))
            if key not in seen:
                seen.add(key)
                cases.append(("%s_%03d" % (maker.__name__, len(cases)), argv, stdin, needed))
        suite[module] = cases
    return suite
