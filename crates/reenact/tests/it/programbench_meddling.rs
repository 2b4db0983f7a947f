//! `reenact programbench eval` on programs that are root where they are tested, and change while the tests run what the tests
//! rest on: each has the official score that it wants, and the strict one that it earned. Needs root.

use crate::programbench_eval::{ANSWERS, FORGER, NAMES, Stage, copies, shell};
use serde_json::Value;

/// Ten tests in which Python loads a module after the program has run.
const LATE: &str = "\
import subprocess, pytest
@pytest.mark.parametrize('i', range(10))
def test_case(i):
    got = subprocess.run(['./executable', str(i)], capture_output=True, text=True).stdout
    import colorsys
    assert got == f'{i}\\n'
";

/// Ten tests that ask a tool.
const TOOL: &str = "\
import subprocess, pytest
@pytest.mark.parametrize('i', range(10))
def test_case(i, tmp_path):
    (tmp_path / 'want').write_text(f'{i}\\n')
    (tmp_path / 'got').write_text(subprocess.run(['./executable', str(i)], capture_output=True, text=True).stdout)
    assert subprocess.run(['diff', tmp_path / 'want', tmp_path / 'got']).returncode == 0
";

/// Ten tests whose expectations are files.
const FILES: &str = "\
import pathlib, subprocess, pytest
@pytest.mark.parametrize('i', range(10))
def test_case(i):
    got = subprocess.run(['./executable', str(i)], capture_output=True, text=True).stdout
    assert got == (pathlib.Path(__file__).parent.parent / 'expected' / f'{i}.txt').read_text()
";

/// Whatever loads this passes.
const PAYLOAD: &str = "\
import _pytest.reports as reports
old = reports.TestReport.from_item_and_call.__func__
def new(cls, item, call):
    report = old(cls, item, call)
    report.outcome, report.longrepr = 'passed', None
    return report
reports.TestReport.from_item_and_call = classmethod(new)
";

/// A submission of one Python program, which may read what Python is to load in `payload.py`.
fn program(stage: &Stage, run: &str, script: &str) {
    let program = format!("#!/usr/bin/python3 -B\nimport os, sys\n{script}\nprint('wrong')\n");
    let payload = ("payload.py", 0o644, PAYLOAD.to_owned());
    stage.submission(run, &[copies(), ("executable.sh", 0o755, program), payload]);
}

fn stage(tests: &str, options: &str) -> Stage {
    let stage = Stage::new(&[("b1", &NAMES)]);
    stage.blob("b1", options, tests);
    stage
}

/// Evaluates; gives the branch's part of the sidecar.
fn fools_official_alone(stage: &Stage, run: &str, official: &str) -> Value {
    stage.eval(&[run]).expect(0);
    assert_eq!(stage.scores(run), (official.into(), "0/10".into()), "{run}");
    stage.sidecar(run)["branches"]["b1"].clone()
}

fn has_note(branch: &Value, part: &str) {
    let notes = branch["notes"].to_string();
    assert!(notes.contains(part), "{part:?} is not in {notes}");
}

/// Puts the payload where Python finds a module that it has not loaded yet.
const CHANGES_STDLIB: &str = "\
module = os.path.dirname(os.__file__) + '/colorsys.py'
mine = module + '.%d' % os.getpid()
open(mine, 'w').write(open('/workspace/payload.py').read())
os.replace(mine, module)
";

#[test]
fn a_module_of_pythons_that_was_changed() {
    let stage = stage(LATE, "");
    program(&stage, "run", CHANGES_STDLIB);
    let branch = fools_official_alone(&stage, "run", "10/10");
    assert_eq!(branch["separate_run"], true);
    has_note(&branch, "colorsys.py");
}

#[test]
fn a_module_of_pythons_that_was_changed_under_workers() {
    let stage = stage(LATE, "-n 2");
    program(&stage, "run", CHANGES_STDLIB);
    let branch = fools_official_alone(&stage, "run", "10/10");
    assert_eq!(branch["separate_run"], true);
}

/// Puts a module in the way of Python's own.
const SHADOWS: &str = "\
mine = '/workspace/%d' % os.getpid()
open(mine, 'w').write(open('/workspace/payload.py').read() + '')
os.replace(mine, '/workspace/colorsys.py')
";

#[test]
fn a_module_that_was_put_into_the_workspace() {
    // Alone it is gone again once it is loaded; workers would miss it then.
    let momentary = SHADOWS.replace("+ ''", r"+ 'import os; os.unlink(__file__)\n'");
    for (options, run, script) in [("", "serial", momentary.as_str()), ("-n 2", "workers", SHADOWS)]
    {
        let stage = stage(LATE, options);
        program(&stage, run, script);
        let branch = fools_official_alone(&stage, run, "10/10");
        // Nothing that a second run could keep it from.
        assert_eq!(branch["separate_run"], false);
        has_note(&branch, "/workspace/colorsys.py");
        let why = branch["strict"]["not_passed"][NAMES[9]].clone();
        assert_eq!(why, "after_change", "{branch}");
    }
}

#[test]
fn compiled_code_that_was_forged_is_not_loaded() {
    let stage = stage(LATE, "");
    let forge = "\
import importlib.util, marshal, struct
source = os.path.dirname(os.__file__) + '/colorsys.py'
cached = importlib.util.cache_from_source(source)
stat = os.stat(source)
code = compile(open('/workspace/payload.py').read(), source, 'exec')
header = importlib.util.MAGIC_NUMBER + struct.pack('<III', 0, int(stat.st_mtime), stat.st_size)
os.makedirs(os.path.dirname(cached), exist_ok=True)
open(cached, 'wb').write(header + marshal.dumps(code))
";
    program(&stage, "run", forge);
    let branch = fools_official_alone(&stage, "run", "0/10");
    has_note(&branch, "__pycache__");
}

#[test]
fn a_tool_that_says_yes_and_removes_itself() {
    let stage = stage(TOOL, "");
    let plant = "\
os.makedirs('/usr/local/bin', exist_ok=True)
open('/usr/local/bin/diff', 'w').write('#!/bin/sh\\nrm -f /usr/local/bin/diff\\n')
os.chmod('/usr/local/bin/diff', 0o755)
";
    program(&stage, "run", plant);
    let branch = fools_official_alone(&stage, "run", "10/10");
    assert_eq!(branch["separate_run"], true);
    has_note(&branch, "/usr/local/bin");
}

/// A branch with expectations in files.
fn with_files() -> Stage {
    let stage = Stage::new(&[("b1", &NAMES)]);
    let run = "#!/bin/bash\ncd \"$(dirname \"$0\")/..\"\npython3 -m pytest eval/tests -q --junitxml=eval/results.xml\n";
    let mut files = vec![
        ("eval/run.sh".to_owned(), 0o755, run.to_owned()),
        ("eval/tests/test_m.py".to_owned(), 0o644, FILES.to_owned()),
    ];
    files.extend((0..10).map(|i| (format!("eval/expected/{i}.txt"), 0o644, format!("{i}\n"))));
    let files: Vec<_> = files.iter().map(|(n, m, t)| (n.as_str(), *m, t.clone())).collect();
    stage.archive("b1", &files);
    stage
}

#[test]
fn expectations_that_became_what_the_program_prints() {
    let stage = with_files();
    let expect = "\
for i in range(10):
    open('/workspace/eval/expected/%d.txt' % i, 'w').write('wrong\\n')
";
    program(&stage, "run", expect);
    let branch = fools_official_alone(&stage, "run", "10/10");
    assert_eq!(branch["separate_run"], true);
    has_note(&branch, "/workspace/eval/expected/0.txt");
    // Other files in another directory.
    let replace = "\
import shutil
if not os.path.exists('/tmp/once'):
    open('/tmp/once', 'w').close()
    shutil.rmtree('/workspace/eval/expected')
    os.mkdir('/workspace/eval/expected')
    for i in range(10):
        open('/workspace/eval/expected/%d.txt' % i, 'w').write('wrong\\n')
";
    program(&stage, "replaced", replace);
    fools_official_alone(&stage, "replaced", "10/10");
    // Moved away and back, files keep their times; but what lies in a layer cannot be moved.
    let swap = "\
try:
    os.rename('/workspace/eval/expected', '/workspace/old')
    print('moved')
except OSError:
    pass
";
    program(&stage, "moved", swap);
    let branch = fools_official_alone(&stage, "moved", "0/10");
    assert_eq!(branch["separate_run"], false, "nothing was changed: {branch}");
}

#[test]
fn a_script_that_grew_while_bash_read_it() {
    let stage = stage(LATE, "");
    let append = r#"
if not os.path.exists('/tmp/once'):
    open('/tmp/once', 'w').close()
    cases = ''.join('<testcase classname="eval.tests.test_m" name="test_case[%d]"/>' % i for i in range(10))
    open('/workspace/eval/run.sh', 'a').write("echo '<testsuite>%s</testsuite>' > eval/results.xml\n" % cases)
"#;
    program(&stage, "run", append);
    let branch = fools_official_alone(&stage, "run", "10/10");
    has_note(&branch, "/workspace/eval/run.sh");
}

/// Writes into pytest's memory: whatever it calls failed, it tells as passed, with its own key.
const MEMORY: &str = r#"
    pytest = os.getppid()
    try:
        memory = open(f"/proc/{pytest}/mem", "r+b", 0)
    except OSError:
        sys.exit(1)
    for line in open(f"/proc/{pytest}/maps"):
        if " rw-p " not in line:
            continue
        start, end = (int(x, 16) for x in line.split()[0].split("-"))
        try:
            memory.seek(start)
            data = memory.read(end - start)
        except OSError:
            continue
        at = data.find(b"failed\0")
        while at >= 0:
            memory.seek(start + at)
            memory.write(b"passed")
            at = data.find(b"failed\0", at + 1)
sys.exit(1)
"#;

/// Python without the module by which pytest closes its process to others, before a test is run.
const WITHOUT_CTYPES: &str = "\
#!/bin/sh
cp forger.py executable
d=$(python3 -c 'import ctypes, os; print(os.path.dirname(os.path.realpath(ctypes.__file__)))')
rm -rf $d && mkdir $d
";

#[test]
fn a_directory_of_pythons_that_was_emptied_by_the_build() {
    let stage = stage(ANSWERS, "");
    let forger = ("forger.py", 0o644, format!("{FORGER}{MEMORY}"));
    for (run, script) in [
        ("emptied", WITHOUT_CTYPES.to_owned()),
        // With Python as it is, nothing can be read.
        ("unchanged", "#!/bin/sh\ncp forger.py executable\n".to_owned()),
    ] {
        stage.submission(run, &[("compile.sh", 0o755, script), forger.clone()]);
        let branch = fools_official_alone(&stage, run, "10/10");
        assert_eq!(branch["separate_run"], run == "emptied", "{branch}");
        assert_eq!(branch["session"]["hidden"], true, "{branch}");
    }
}

#[test]
fn a_workspace_that_became_a_link() {
    let stage = stage(ANSWERS, "");
    let hook = "\
import pytest
@pytest.hookimpl(hookwrapper=True)
def pytest_runtest_makereport(item, call):
    report = (yield).get_result()
    report.outcome, report.longrepr = 'passed', None
";
    let moves = "#!/bin/sh\ncp executable.sh executable\nmkdir /tmp/w && cp -a /workspace/. /tmp/w/ && cd / && rm -rf /workspace && ln -s /tmp/w /workspace\n";
    stage.submission(
        "run",
        &[
            ("compile.sh", 0o755, moves.to_owned()),
            shell("exit 1"),
            ("conftest.py", 0o644, hook.to_owned()),
        ],
    );
    let branch = fools_official_alone(&stage, "run", "10/10");
    assert_eq!(branch["separate_run"], true, "{branch}");
}

/// A build that takes away or replaces what unpacks the tests; its program gives every right answer.
#[test]
fn a_build_that_keeps_the_tests_from_being_unpacked_is_a_zero_and_no_failure_of_ours() {
    let stage = stage(ANSWERS, "");
    let build = |more: &str| {
        let script = format!("#!/bin/sh\ncp executable.sh executable\n{more}\n");
        ("compile.sh", 0o755, script)
    };
    let tar = "t=$(readlink -f $(command -v tar)); rm -f $t";
    let no = format!("{tar}; printf '#!/bin/sh\\nexit 1\\n' > $t; chmod 755 $t");
    let account = "sed -i '/^root:/d' /etc/passwd";
    let late = "echo 'trap \"rm -rf /tmp/reenact-pytest\" EXIT' >> /root/.profile";
    let right = || shell("echo $1");
    stage.submission("gone", &[build(tar), right()]);
    stage.submission("exits", &[build(&no), right()]);
    stage.submission("mkdir", &[build("rm -f $(readlink -f $(command -v mkdir))"), right()]);
    let inside = ("eval/run.sh/x", 0o644, "x".to_owned());
    stage.submission("directory", &[build(""), right(), inside]);
    stage.submission("account", &[build(account), right()]);
    stage.submission("late", &[build(late), right()]);
    let runs = ["gone", "exits", "mkdir", "directory", "account", "late"];
    stage.eval(&runs).expect(0);
    for (run, code) in [
        ("gone", "copy_tests_failed"),
        ("exits", "copy_tests_failed"),
        ("mkdir", "install_pytest_timeout_retry_failed"),
        ("directory", "copy_tests_failed"),
        ("account", ""),
        ("late", "install_pytest_timeout_retry_failed"),
    ] {
        let official = stage.official(run);
        let error = &official["test_branch_errors"]["b1"][0]["error_code"];
        assert_eq!(error.as_str().unwrap_or(""), code, "{run}: {official}");
        let want = if code.is_empty() { "10/10" } else { "0/10" };
        // On the image's own tools it is judged all the same.
        assert_eq!(stage.scores(run), (want.into(), "10/10".into()), "{run}");
    }
}
