#!/usr/bin/env python3
"""Makes a suite in ProgramBench's form: a task directory, blobs, and three submissions (gold, weak, nothing).

    suite.py OUT [--lua /usr/bin/lua5.4] [--tests 1340] [--branches 2] [--seed 1]

Writes OUT/tasks/<id>/{task.yaml,tests.json}, OUT/blobs/<id>/tests/<branch>.tar.gz and OUT/runs/<submission>/<id>/
submission.tar.gz, for two tasks with the same tests: one whose run.sh runs pytest, one whose run.sh runs it with xdist. Expected
output comes from the real interpreter, run three times; a case that answers differently is left out.
"""

import argparse
import hashlib
import io
import json
import os
import pathlib
import shutil
import subprocess
import tarfile
import tempfile

import cases

SERIAL = "reenactbench__lua.0000001"
XDIST = "reenactbench__luaxdist.0000002"
TASKS = {SERIAL: "", XDIST: "-n auto "}

HELPER = '''\
import os
import subprocess

EXECUTABLE = os.path.abspath("./executable")


def run(argv, stdin="", cwd=None):
    program = "./executable" if cwd is None else EXECUTABLE
    return subprocess.run([program, *argv], input=stdin, capture_output=True, text=True, timeout=10, cwd=cwd)


def check(case, tmp_path):
    argv, stdin, files, code, stdout, stderr = case
    for name, content in files.items():
        (tmp_path / name).write_text(content)
    result = run(argv, stdin, tmp_path if files else None)
    assert result.stdout == stdout
    assert result.returncode == code
    for part in stderr:
        assert part in result.stderr
'''

RUN_SH = """\
#!/bin/bash
set -e
cd "$(dirname "$0")/.."
python3 -m pytest {xdist}eval/tests/ --junitxml=eval/results.xml -q --timeout=30 --timeout-method=thread || true
"""

# Every submission is built by its compile.sh. The image has the real interpreter in place for gold.
SUBMISSIONS = {
    "gold": {"compile.sh": "#!/bin/bash\ncp /usr/bin/lua5.4 executable\n"},
    "nothing": {"compile.sh": "#!/bin/bash\ngcc -O1 -o executable main.c\n", "main.c": "int main(void) { return 0; }\n"},
    "weak": {
        "compile.sh": "#!/bin/bash\ngcc -O1 -o executable main.c\n",
        "main.c": r"""#include <stdio.h>
#include <string.h>
/* Knows `print(A * B - C)` and refuses an unknown file; the rest is silence. */
int main(int argc, char **argv) {
    long a, b, c;
    if (argc == 3 && !strcmp(argv[1], "-e") && sscanf(argv[2], "print(%ld * %ld - %ld)", &a, &b, &c) == 3)
        printf("%ld\n", a * b - c);
    return 0;
}
""",
    },
}


def tar_gz(path, files):
    """A reproducible .tar.gz of {name: text}, owned by root."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with tarfile.open(path, "w:gz", compresslevel=6) as tar:
        for name, text in sorted(files.items()):
            data = text.encode()
            info = tarfile.TarInfo(name)
            info.size, info.mtime = len(data), 946684800
            info.mode = 0o755 if name.endswith(".sh") else 0o644
            tar.addfile(info, io.BytesIO(data))


def ask(program, argv, stdin, files):
    """What the program at `program` answers, as the tests will ask it."""
    with tempfile.TemporaryDirectory() as scratch:
        home = pathlib.Path(scratch)
        for name, content in files.items():
            (home / name).write_text(content)
        if files:
            command = [str(program), *argv]
        else:
            shutil.copy2(program, home / "executable")
            command = ["./executable", *argv]
        environment = {k: v for k, v in os.environ.items() if not k.startswith("LUA")}
        ran = subprocess.run(command, input=stdin, capture_output=True, text=True, timeout=10, cwd=home, env=environment)
        return ran.returncode, ran.stdout, ran.stderr


def answered(lua, suite):
    """The suite with answers: module → [(name, (argv, stdin, files, code, stdout, stderr parts), silent)]."""
    known = {}
    with tempfile.TemporaryDirectory() as scratch:
        # The path under which the tests will call it, so that messages that name it agree.
        program = pathlib.Path(scratch) / "executable"
        shutil.copy2(lua, program)
        for module, made in suite.items():
            known[module] = []
            for name, argv, stdin, files in made:
                answers = [ask(program, argv, stdin, files) for _ in range(3)]
                code, stdout, stderr = answers[0]
                if answers.count(answers[0]) != 3 or scratch in stdout or "0x5" in stdout:
                    continue
                # The first line without the program's name, as a careful author would check it.
                line = stderr.splitlines()[0] if stderr else ""
                parts = [line.split("executable: ")[-1]] if line and scratch not in line.split("executable: ")[-1] else []
                silent = code == 0 and not stdout and not parts
                known[module].append((name, (argv, stdin, files, code, stdout, parts), silent))
    return known


def module_text(module, made):
    """A test module: a parametrised function, and every eighth case as a method of a class with its data in its body."""
    table = [m for i, m in enumerate(made) if i % 8]
    plain = [m for i, m in enumerate(made) if i % 8 == 0]
    title = "".join(part.title() for part in module.split("_")[1:])
    lines = ["import pytest", "", "from helpers import check", "", "CASES = ["]
    lines += [f"    pytest.param({case!r}, id={name!r})," for name, case, _ in table]
    lines += ["]", "", "", '@pytest.mark.parametrize("case", CASES)', "def test_output(case, tmp_path):", "    check(case, tmp_path)", "", "", f"class Test{title}:"]
    for name, case, _ in plain:
        lines += [f"    def test_{name}(self, tmp_path):", f"        check({case!r}, tmp_path)", ""]
    names = [(f"eval.tests.{module}.test_output[{name}]", silent) for name, _, silent in table]
    names += [(f"eval.tests.{module}.Test{title}.test_{name}", silent) for name, _, silent in plain]
    return "\n".join(lines), names


def branches(known, count):
    """[(branch, {file: text}, [(test, silent)])]: the modules dealt out so that the branches are of one size."""
    dealt = [{} for _ in range(count)]
    for module, made in sorted(known.items()):
        for i in range(count):
            dealt[i][module] = made[i::count]
    result = []
    for modules in dealt:
        files, tests = {"eval/tests/helpers.py": HELPER, "eval/tests/conftest.py": "import os, sys\nsys.path.insert(0, os.path.dirname(__file__))\n"}, []
        for module, made in modules.items():
            files[f"eval/tests/{module}.py"], names = module_text(module, made)
            tests += names
        branch = hashlib.sha256(repr(sorted(files.items())).encode()).hexdigest()[:12]
        result.append((branch, files, tests))
    return result


def write(out, made):
    for instance, xdist in TASKS.items():
        listed = {}
        for branch, files, tests in made:
            files = {**files, "eval/run.sh": RUN_SH.format(xdist=xdist)}
            tar_gz(out / "blobs" / instance / "tests" / f"{branch}.tar.gz", files)
            # What a program that does nothing passes, their makers leave out of the score, and so do we.
            ignored = [{"name": n, "reasons": [{"id": "dummy_pass"}]} for n, silent in tests if silent]
            listed[branch] = {"ignored": False, "ignore_reason": "", "tests": [n for n, _ in tests], "ignored_tests": ignored}
        task = out / "tasks" / instance
        task.mkdir(parents=True, exist_ok=True)
        name, commit = instance.split("__")[1].split(".")
        (task / "task.yaml").write_text(f"repository: reenactbench/{name}\ncommit: '{commit:0<40}'\nlanguage: c\ndifficulty: easy\n")
        (task / "tests.json").write_text(json.dumps({"branches": listed}, indent=2))
        for submission, files in SUBMISSIONS.items():
            tar_gz(out / "runs" / submission / instance / "submission.tar.gz", files)


def build(out, lua="/usr/bin/lua5.4", tests=1340, count=2, seed=1):
    """Makes everything; gives the numbers of tests and of ignored ones."""
    made = branches(answered(lua, cases.make(seed, tests)), count)
    write(pathlib.Path(out), made)
    every = [silent for _, _, names in made for _, silent in names]
    return len(every), sum(every)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("out")
    parser.add_argument("--lua", default="/usr/bin/lua5.4")
    parser.add_argument("--tests", type=int, default=1340)
    parser.add_argument("--branches", type=int, default=2)
    parser.add_argument("--seed", type=int, default=1)
    args = parser.parse_args()
    total, ignored = build(args.out, args.lua, args.tests, args.branches, args.seed)
    print(f"{total} tests, {ignored} of them ignored, in {args.branches} branches")
