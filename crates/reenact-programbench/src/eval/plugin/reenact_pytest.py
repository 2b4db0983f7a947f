"""Reenact's part of a pytest run: tests that fail are run again at once, timeouts hold for each attempt, and outcomes are told
to the harness over a socket that nothing started by a test can reach.

Loaded by `-p`, in the controller and in xdist's workers. Python 3.8 and later, pytest 6 and later; pytest-xdist and
pytest-timeout are used where they are there.
"""

import atexit
import os
import re
import sys
import threading
import time

# Before anything else is imported: Python's cache is nothing that a session may leave behind, as whatever is changed while it
# runs is looked at afterwards. Workers are told by the environment, and tests do not see it.
sys.dont_write_bytecode = True
if "PYTHONDONTWRITEBYTECODE" not in os.environ:
    os.environ["PYTHONDONTWRITEBYTECODE"] = os.environ["REENACT_NO_BYTECODE"] = "1"

import pytest
from _pytest.runner import call_and_report

try:
    from _pytest.runner import show_test_item
except ImportError:
    show_test_item = None
try:
    from _pytest.junitxml import mangle_test_address
except ImportError:
    mangle_test_address = None
try:
    import pytest_timeout
except ImportError:
    pytest_timeout = None


# --- When it began -----------------------------------------------------------------------------------------------------
#
# The program under test may be root here. What it makes or changes has an st_ctime that is not older than this session: only
# who may set the clock (CAP_SYS_TIME) can give a file another one.


def _coarse_now():
    """Nanoseconds, by the clock that files have theirs from (CLOCK_REALTIME_COARSE)."""
    try:
        return time.clock_gettime_ns(5)
    except (AttributeError, OSError):
        return time.time_ns() - 20000000


def _session_began():
    """Workers have their controller's time: a program may have been run before the last of them is there."""
    given = os.environ.get("REENACT_BEGAN", "")
    if given.isdigit() and "REENACT_CHANNEL" not in os.environ:
        return int(given)
    now = before = _coarse_now()
    # The clock ticks every few milliseconds, and what was written just now has this tick's time.
    while now == before:
        time.sleep(0.001)
        now = _coarse_now()
    os.environ["REENACT_BEGAN"] = str(now)
    return now


_began = _session_began()


# --- The channel -------------------------------------------------------------------------------------------------------
#
# The harness passes a socket and writes a key into it. Whoever reads the key first is the only one who knows it, and that is
# this module, imported before any test, and so before the program under test runs. Every message is authenticated with it,
# so that a stolen descriptor is of no use; and the process cannot be looked into (PR_SET_DUMPABLE).

_KEY_BYTES = 64  # hexadecimal digits


def _hide():
    """Makes this process unreadable for others of its user. False if that is not possible here."""
    try:
        import ctypes

        if ctypes.CDLL(None, use_errno=True).prctl(4, 0, 0, 0, 0) == 0:
            return True
    except Exception:
        pass
    try:
        # Python without ctypes: the kernel does the same where a process changes its group (commit_creds), also for a moment,
        # unless it is set to leave such processes open.
        with open("/proc/sys/fs/suid_dumpable") as setting:
            if setting.read().strip() not in ("0", "2"):
                return False
        group = os.getegid()
        os.setegid(group + 1)
        os.setegid(group)
        return True
    except Exception:
        return False


class _Channel:
    """What the harness hears."""

    def __init__(self, sock, key, hidden, began):
        import hmac
        import json

        self._digest, self._dumps = hmac.digest, json.dumps
        self._sock, self._key, self._sequence = sock, key, 0
        self._touched, self._process = False, os.getpid()
        atexit.register(self._pass_on)
        self.say(event="hello", pytest=pytest.__version__, python=sys.version.split()[0], hidden=hidden, began=began)

    def say(self, **message):
        if self._sock is None:
            return
        body = ("%d %s" % (self._sequence, self._dumps(message))).encode()
        self._sequence += 1
        mac = self._digest(self._key, body, "sha256").hex().encode()
        try:
            # One call, and a line of its own whatever others may have left unfinished.
            self._sock.sendall(b"\n" + mac + b" " + body + b"\n")
        except OSError:
            self._sock = None

    def suite(self):
        """Modules of the suite are loaded: from now on the program under test may be there, and listen."""
        self._touched = True

    def _pass_on(self):
        """A process that loaded nothing of the suite (`--version`, `--help`) asks for a key for the next one."""
        if not self._touched and os.getpid() == self._process:
            self.say(event="untested")


def _take_channel():
    """The channel, if we are the process that was given one."""
    number = os.environ.pop("REENACT_CHANNEL", "")
    if not number.isdigit():
        return None
    import fcntl
    import socket
    import stat

    try:
        # Before anything else: no child may have it.
        if not stat.S_ISSOCK(os.fstat(int(number)).st_mode):
            return None
        private = fcntl.fcntl(int(number), fcntl.F_DUPFD_CLOEXEC, 200)
        os.close(int(number))
        hidden = _hide()
        sock = socket.socket(fileno=private)
        sock.settimeout(10)
        key = b""
        while len(key) < _KEY_BYTES:
            part = sock.recv(_KEY_BYTES - len(key))
            if not part:
                # Another pytest has collected tests: nobody is given a key any more.
                sock.sendall(b"\nlater\n")
                return None
            key += part
        return _Channel(sock, bytes.fromhex(key.decode()), hidden, _began)
    except (OSError, ValueError):
        # A suite uses this descriptor for something else, or another pytest had the key.
        return None


_channel = _take_channel()
if _channel is None:
    _hide()


# --- Code that came late -----------------------------------------------------------------------------------------------
#
# Python loads modules when they are asked for, from files that the program under test may have changed, or put in the way. Code
# that was changed after the beginning is told to the harness before it is executed; compiled code beside a source is ignored.

_CHANGED = "reenact: loads code that was changed: "


class _Guard:
    """Tells of changed code."""

    def __init__(self, began):
        self._began, self._config, self._waiting = began, None, []

    def is_new(self, path, opened=None):
        """Whether what is at `path` (and the opened file, if given) was changed in this session, or is not there any more."""
        try:
            newest = max(os.lstat(path).st_ctime_ns, (opened or os.stat(path)).st_ctime_ns)
        except (OSError, ValueError):
            return True
        return newest >= self._began

    def tell(self, path):
        if _channel is not None:
            _channel.say(event="changed", path=str(path))
            return
        self._waiting.append(str(path))
        self._pass_on()

    def configure(self, config):
        self._config = config
        self._pass_on()

    def _pass_on(self):
        """A worker has a way to its controller that keeps the order: the one for warnings."""
        import warnings

        while self._config is not None and self._waiting:
            text = pytest.PytestWarning(_CHANGED + self._waiting.pop(0))
            message = warnings.WarningMessage(text, pytest.PytestWarning, __file__, 0)
            said = {"warning_message": message, "when": "runtest", "nodeid": "", "location": None}
            self._config.hook.pytest_warning_recorded.call_historic(kwargs=said)


def _guard_imports(guard):
    """Puts the guard into Python's ways of loading a file."""
    import importlib._bootstrap_external as external
    import importlib.machinery
    import io

    compiled = tuple(importlib.machinery.BYTECODE_SUFFIXES)
    code = tuple(importlib.machinery.SOURCE_SUFFIXES) + compiled
    read, create = external.FileLoader.get_data, external.ExtensionFileLoader.create_module

    def get_data(self, path):
        text = str(path)
        if not text.endswith(code):
            return read(self, path)
        with io.open_code(text) as file:
            data = file.read()
            new = guard.is_new(text, os.fstat(file.fileno()))
        if new and text.endswith(compiled) and not isinstance(self, external.SourcelessFileLoader):
            raise FileNotFoundError(2, "was written while the tests ran", text)
        if new:
            guard.tell(text)
        return data

    def create_module(self, spec):
        if guard.is_new(spec.origin):
            guard.tell(spec.origin)
        return create(self, spec)

    external.FileLoader.get_data = get_data
    external.ExtensionFileLoader.create_module = create_module


def _guard_rewriting(guard):
    """Test modules and plugins are loaded by pytest's own loader."""
    try:
        from _pytest.assertion import rewrite

        read, compile_test = rewrite._read_pyc, rewrite._rewrite_test
    except (ImportError, AttributeError):
        return

    def read_pyc(source, pyc, *more, **named):
        return None if guard.is_new(pyc) else read(source, pyc, *more, **named)

    def rewrite_test(path, *more, **named):
        done = compile_test(path, *more, **named)
        if guard.is_new(path):
            guard.tell(path)
        return done

    rewrite._read_pyc, rewrite._rewrite_test = read_pyc, rewrite_test


_guard = _Guard(_began)
_guard_imports(_guard)
_guard_rewriting(_guard)


class _Witness:
    """Tells the harness about every test, by the name that the JUnit file will have."""

    def __init__(self, channel, config):
        self._channel, self._open, self._begun = channel, {}, False
        self._prefix = getattr(config.option, "junitprefix", None)
        self._late = set()

    def _name(self, nodeid):
        if mangle_test_address is None:
            return nodeid
        names = mangle_test_address(nodeid)
        return ".".join(([self._prefix] if self._prefix else []) + names)

    @pytest.hookimpl(optionalhook=True)
    def pytest_testnodeready(self, node):
        # A worker that replaces one that died starts in a world that the program under test has been in.
        if self._begun:
            self._late.add(id(node))

    @pytest.hookimpl(tryfirst=True)
    def pytest_collection(self):
        self._channel.suite()

    def pytest_runtest_logreport(self, report):
        self._begun = True
        self._channel.suite()
        node = getattr(report, "node", None)
        key = (report.nodeid, id(node))
        if report.outcome == "rerun":
            self._open.pop(key, None)
            return
        phases = self._open.setdefault(key, {})
        outcome = report.outcome
        if hasattr(report, "wasxfail"):
            outcome = "xpassed" if outcome == "passed" else "xfailed"
        phases[report.when] = outcome
        if report.when in ("setup", "call"):
            return
        self._open.pop(key, None)
        self._channel.say(
            event="test", name=self._name(report.nodeid), phases=phases, late=node is not None and id(node) in self._late
        )

    def pytest_warning_recorded(self, warning_message):
        said = str(warning_message.message)
        if said.startswith(_CHANGED):
            self._channel.say(event="changed", path=said[len(_CHANGED) :])

    def pytest_collectreport(self, report):
        if report.failed:
            self._channel.say(event="collect", name=self._name(report.nodeid))

    @pytest.hookimpl(trylast=True)
    def pytest_sessionfinish(self, session, exitstatus):
        self._channel.say(event="bye", status=int(exitstatus))


# --- The environment ---------------------------------------------------------------------------------------------------


def _restore(snapshot, name, without):
    """Takes out what was added; what the suite's script has added itself stays."""
    if snapshot not in os.environ:
        return
    before, value = os.environ.pop(snapshot), without(os.environ.get(name, ""))
    if value or before:
        os.environ[name] = value
    else:
        os.environ.pop(name, None)


def _without_our_path(value):
    ours = os.path.dirname(os.path.abspath(__file__))
    return os.pathsep.join(part for part in value.split(os.pathsep) if part != ours)


def _restore_environment():
    """What a test starts must not see what we added for pytest."""
    os.environ.pop("REENACT_BEGAN", None)
    if os.environ.pop("REENACT_NO_BYTECODE", None):
        os.environ.pop("PYTHONDONTWRITEBYTECODE", None)
    os.environ.pop("REENACT_ONLY_TELL", None)
    _restore("REENACT_ORIGINAL_PYTHONPATH", "PYTHONPATH", _without_our_path)
    _restore("REENACT_ORIGINAL_ADDOPTS", "PYTEST_ADDOPTS", lambda v: v.replace(" -p reenact_pytest --reruns=2", "", 1))
    retries = os.environ.get("REENACT_ORIGINAL_PIP_RETRIES", "")
    _restore("REENACT_ORIGINAL_PIP_RETRIES", "PIP_RETRIES", lambda _: retries)


# --- Options -----------------------------------------------------------------------------------------------------------


def pytest_addoption(parser, pluginmanager):
    # The options, markers and verdicts are those of pytest-rerunfailures 16.4; where an image has it, it stands back.
    for name in ("rerunfailures", "pytest_rerunfailures"):
        pluginmanager.set_blocked(name)
    group = parser.getgroup("rerunfailures", "run failing tests again (reenact)")
    group.addoption("--reruns", dest="reruns", type=int, help="times that a failing test is run again")
    group.addoption("--reruns-delay", dest="reruns_delay", type=float, help="seconds before it is run again")
    group.addoption("--reruns-delay-backoff-factor", dest="reruns_delay_backoff_factor", type=float)
    group.addoption("--force-reruns", dest="force_reruns", type=int, help="as --reruns, over markers too")
    group.addoption("--only-rerun", dest="only_rerun", action="append", help="errors (regular expression) to run again")
    group.addoption("--rerun-except", dest="rerun_except", action="append", help="errors not to run again")
    group.addoption("--reruns-mode", dest="reruns_mode", choices=("strict", "append"), default="strict")
    group.addoption("--fail-on-flaky", dest="fail_on_flaky", action="store_true")
    group.addoption("--rerun-show-tracebacks", dest="rerun_show_tracebacks", action="store_true")
    for name in ("reruns", "reruns_delay", "reruns_delay_backoff_factor"):
        parser.addini(name, "see --" + name.replace("_", "-"))


def pytest_plugin_registered(plugin):
    # It is the suite's, and loaded for `--version`, too.
    if _channel is not None and os.path.basename(str(getattr(plugin, "__file__", ""))) == "conftest.py":
        _channel.suite()


@pytest.hookimpl(tryfirst=True)
def pytest_configure(config):
    if os.environ.get("REENACT_ONLY_TELL"):
        # What is told is all that counts, and there is no place for a file.
        config.option.xmlpath = None
    config.addinivalue_line("markers", "flaky(reruns=1, reruns_delay=0): run this test again if it fails")
    if hasattr(config, "workerinput"):
        _guard.configure(config)
    else:
        if _channel is not None:
            config.pluginmanager.register(_Witness(_channel, config), "reenact-witness")
        if config.pluginmanager.hasplugin("xdist"):
            config.pluginmanager.register(_Crashes(config), "reenact-crashes")


def pytest_report_teststatus(report):
    if report.outcome == "rerun":
        return "rerun", "R", ("RERUN", {"yellow": True})


# --- Running again -----------------------------------------------------------------------------------------------------


def _number(read, convert):
    try:
        return convert(read())
    except (TypeError, ValueError):
        return None


def _global_reruns(config):
    if config.option.reruns is not None:
        return config.option.reruns
    return _number(lambda: config.getini("reruns"), int)


def _reruns(item, marker):
    """How often this test is run again at most; None: the suite does without."""
    option = item.config.option
    if option.force_reruns is not None:
        return option.force_reruns
    everywhere = _global_reruns(item.config)
    if marker is None:
        return everywhere
    count = marker.kwargs.get("reruns", marker.args[0] if marker.args else 1)
    if option.reruns_mode == "append" and everywhere is not None:
        return count + everywhere
    return count


def _delay(item, marker, attempt):
    """Seconds before the next attempt."""
    config = item.config
    if marker is not None:
        seconds = marker.kwargs.get("reruns_delay", marker.args[1] if len(marker.args) > 1 else 0)
        factor = marker.kwargs.get("reruns_delay_backoff_factor", marker.args[2] if len(marker.args) > 2 else 1.0)
    else:
        seconds, factor = config.option.reruns_delay, config.option.reruns_delay_backoff_factor
        if seconds is None:
            seconds = _number(lambda: config.getini("reruns_delay"), float)
        if factor is None:
            factor = _number(lambda: config.getini("reruns_delay_backoff_factor"), float)
    factor = 1.0 if factor is None or factor < 0 else factor
    return max(0, seconds or 0) * factor ** (attempt - 1)


def _condition(item, marker):
    """A marker may say when to run again: a value, or an expression over the test's globals."""
    if marker is None or "condition" not in marker.kwargs:
        return True
    condition = marker.kwargs["condition"]
    if not isinstance(condition, str):
        return bool(condition)
    import platform

    names = {"os": os, "sys": sys, "platform": platform, "config": item.config}
    names.update(getattr(getattr(item, "obj", None), "__globals__", {}))
    return bool(eval(condition, names))


def _patterns(item, marker, name):
    if marker is not None and name in marker.kwargs:
        given = marker.kwargs[name]
        return [given] if isinstance(given, str) else given
    return getattr(item.config.option, name)


def _matches(patterns, excinfo):
    if not excinfo:
        return False
    text = "%s: %s" % (excinfo.type.__name__, excinfo.value)
    for pattern in patterns:
        if isinstance(pattern, type) and issubclass(pattern, BaseException):
            if issubclass(excinfo.type, pattern):
                return True
        elif re.search(pattern, text):
            return True
    return False


def _is_terminal(item, marker, excinfo):
    """The suite said that this error is not worth another attempt."""
    only, never = _patterns(item, marker, "only_rerun"), _patterns(item, marker, "rerun_except")
    if only and not _matches(only, excinfo):
        return True
    return bool(never) and _matches(never, excinfo)


class _Attempts:
    """The attempts at one test."""

    def __init__(self, item, reruns, marker, count):
        self.reruns, self.marker, self.count = reruns, marker, count
        self.again = False  # this attempt has failed, and another follows
        self.terminal = False
        filtered = any(_patterns(item, marker, n) for n in ("only_rerun", "rerun_except"))
        self.plain = marker is None and not filtered

    @property
    def is_last(self):
        return self.count > self.reruns


_ATTEMPTS = "_reenact_attempts"


class _Unformatted:
    """Stands for a failure's description while nobody will read it."""

    def __init__(self, excinfo):
        self.excinfo = excinfo

    def __str__(self):
        return "(this attempt is followed by another)"


@pytest.hookimpl(hookwrapper=True, tryfirst=True)
def pytest_runtest_makereport(item, call):
    attempts = getattr(item, _ATTEMPTS, None)
    if attempts is None:
        yield
        return
    if not attempts.is_last:
        # Describing a failure costs more than most tests; only the last attempt's description is kept.
        item.repr_failure = lambda excinfo, *a, **k: _Unformatted(excinfo)
        item._repr_failure_py = item.repr_failure
    try:
        outcome = yield
    finally:
        item.__dict__.pop("repr_failure", None)
        item.__dict__.pop("_repr_failure_py", None)
    report = outcome.get_result()
    if report.failed and not hasattr(report, "wasxfail"):
        if _is_terminal(item, attempts.marker, call.excinfo):
            attempts.terminal = True
        elif not attempts.is_last and _condition(item, attempts.marker):
            attempts.again = True
            report.reenact_again = True
    if isinstance(report.longrepr, _Unformatted) and not hasattr(report, "reenact_again"):
        excinfo = report.longrepr.excinfo
        if call.when == "call":
            report.longrepr = item.repr_failure(excinfo)
        else:
            report.longrepr = item._repr_failure_py(excinfo, style=item.config.getoption("tbstyle", "auto"))


class _Sibling:
    """A next test in the same place as this one: what belongs to the test alone is torn down, wider fixtures stay."""

    def __init__(self, item):
        self._item = item

    def __getattr__(self, name):
        return getattr(self._item, name)

    def listchain(self):
        return self._item.listchain()[:-1] + [self]


def _collector_failed(item):
    """A module's or package's own set-up failed, which pytest remembers for all that is in it."""
    stack = item.session._setupstate.stack
    if isinstance(stack, dict):
        return any(len(entry) > 1 and entry[1] for node, entry in stack.items() if node is not item)
    return any(hasattr(node, "_prepare_exc") for node in stack if node is not item)


def _forget_failed_fixtures(item):
    info = getattr(item, "_fixtureinfo", None)
    for definitions in getattr(info, "name2fixturedefs", {}).values():
        for definition in definitions:
            cached = getattr(definition, "cached_result", None)
            if cached is not None and cached[2]:
                definition.cached_result = None
                finalizers = getattr(definition, "_finalizers", None)
                if finalizers:
                    finalizers.clear()


def _attempt(item, nextitem, attempts):
    """As pytest's own `runtestprotocol`, but without tearing down what the next attempt needs."""
    has_request = hasattr(item, "_request")
    if has_request and not item._request:
        item._initrequest()
    reports = [call_and_report(item, "setup", False)]
    if reports[0].passed:
        if item.config.getoption("setupshow", False) and show_test_item is not None:
            show_test_item(item)
        if not item.config.getoption("setuponly", False):
            reports.append(call_and_report(item, "call", False))
    if attempts.again and not attempts.terminal:
        nextitem = None if _collector_failed(item) else _Sibling(item)
    elif item.session.shouldfail or item.session.shouldstop:
        nextitem = None
    reports.append(call_and_report(item, "teardown", False, nextitem=nextitem))
    if has_request:
        item._request = False
        item.funcargs = None
    return reports


def _assertion_util():
    try:
        from _pytest.assertion import util

        return util if hasattr(util, "_reprcompare") else None
    except ImportError:
        return None


_assertions = _assertion_util()


def _quiet_attempt(item, nextitem, attempts):
    """An attempt that another one may follow: what assertions would tell about differing values is not worked out."""
    if _assertions is None or not attempts.plain:
        return _attempt(item, nextitem, attempts)
    explain, _assertions._reprcompare = _assertions._reprcompare, None
    try:
        return _attempt(item, nextitem, attempts)
    finally:
        _assertions._reprcompare = explain


def _log(item, reports):
    """Passes an attempt's reports on. True if it is to be repeated: then the failure was the last that was passed on."""
    for report in reports:
        if not hasattr(report, "reenact_again"):
            item.ihook.pytest_runtest_logreport(report=report)
            continue
        if report.when == "teardown":
            # pytest-rerunfailures tells such a repetition, and the JUnit file has a test case for it.
            report.outcome, report.longrepr = "rerun", str(report.longrepr)
            item.ihook.pytest_runtest_logreport(report=report)
        return True
    return False


def pytest_runtest_protocol(item, nextitem):
    marker = item.get_closest_marker("flaky")
    reruns = _reruns(item, marker)
    if reruns is None:
        return None
    crashes = getattr(item.config, "workerinput", {}).get("reenact_crashes", {})
    attempts = _Attempts(item, reruns, marker, crashes.get(item.nodeid, 0))
    if attempts.count > reruns:
        return True
    setattr(item, _ATTEMPTS, attempts)
    item.ihook.pytest_runtest_logstart(nodeid=item.nodeid, location=item.location)
    try:
        while True:
            attempts.count += 1
            item.execution_count = attempts.count
            attempts.again = attempts.terminal = False
            run = _attempt if attempts.is_last else _quiet_attempt
            reports = run(item, nextitem, attempts)
            failed = [r for r in reports if hasattr(r, "reenact_again")]
            # What passed before the failure is told only where the JUnit file will have it: see `_log`.
            if failed and failed[0].when != "teardown":
                reports = failed
            if not _log(item, reports):
                break
            _forget_failed_fixtures(item)
            seconds = _delay(item, marker, attempts.count)
            if seconds:
                import time

                time.sleep(seconds)
    finally:
        delattr(item, _ATTEMPTS)
    item.ihook.pytest_runtest_logfinish(nodeid=item.nodeid, location=item.location)
    return True


@pytest.hookimpl(trylast=True)
def pytest_sessionfinish(session, exitstatus):
    if exitstatus == 0 and session.config.option.fail_on_flaky:
        if any(getattr(item, "execution_count", 1) > 1 for item in getattr(session, "items", ())):
            session.exitstatus = 7


class _Crashes:
    """In xdist's controller: a test during which a worker died is given to another one, as often as it may be run again."""

    def __init__(self, config):
        self._reruns, self._seen = _global_reruns(config) or 0, {}

    @pytest.hookimpl(optionalhook=True)
    def pytest_configure_node(self, node):
        node.workerinput["reenact_crashes"] = dict(self._seen)

    @pytest.hookimpl(optionalhook=True)
    def pytest_handlecrashitem(self, crashitem, report, sched):
        seen = self._seen.get(crashitem, 0)
        self._seen[crashitem] = seen + 1
        if seen < self._reruns:
            try:
                sched.mark_test_pending(crashitem)
                report.outcome = "rerun"
            except NotImplementedError:
                # Some schedulers cannot; then the crash is the test's failure.
                report.outcome = "failed"


# --- Timeouts ----------------------------------------------------------------------------------------------------------
#
# pytest-timeout sets its timer once for a test, and a timer that went off is gone: later attempts would run without one, and
# each must have the whole time.

_TIMEOUT = "_reenact_timeout"


def _cancel(item):
    cancel = getattr(item, "cancel_timeout", None)
    if cancel is not None:
        cancel()


def _arm(item, settings):
    import signal

    def ring(signum, frame):
        __tracebackhide__ = True
        if not getattr(settings, "disable_debugger_detection", False) and pytest_timeout.is_debugging():
            return
        newer = hasattr(settings, "disable_debugger_detection")
        pytest_timeout.timeout_sigalrm(item, settings if newer else settings.timeout)

    def cancel():
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, signal.SIG_DFL)

    item.cancel_timeout = cancel
    signal.signal(signal.SIGALRM, ring)
    signal.setitimer(signal.ITIMER_REAL, settings.timeout)


@pytest.hookimpl(tryfirst=True, optionalhook=True)
def pytest_timeout_set_timer(item, settings):
    if settings.method != "signal" or threading.current_thread() is not threading.main_thread():
        return None
    setattr(item, _TIMEOUT, settings)
    _arm(item, settings)
    return True


@pytest.hookimpl(hookwrapper=True, tryfirst=True)
def pytest_runtest_setup(item):
    _restore_environment()
    settings = getattr(item, _TIMEOUT, None)
    if settings is not None and settings.func_only is False:
        _cancel(item)
        _arm(item, settings)
    elif pytest_timeout is not None and not hasattr(pytest_timeout, "TimeoutHooks"):
        # Before pytest-timeout 2 there is no hook for its timer.
        if getattr(getattr(item, _ATTEMPTS, None), "count", 1) > 1:
            pytest_timeout.timeout_teardown(item)
            pytest_timeout.timeout_setup(item)
    yield


@pytest.hookimpl(hookwrapper=True, tryfirst=True)
def pytest_runtest_teardown(item):
    try:
        yield
    finally:
        settings = getattr(item, _TIMEOUT, None)
        if settings is not None and settings.func_only is False:
            _cancel(item)


# --- Cost --------------------------------------------------------------------------------------------------------------


def _remember_statements():
    """pytest parses and walks a file again for every failure in it; where a line's statement is does not change."""
    try:
        from _pytest._code import code

        find = code.getstatementrange_ast
    except (ImportError, AttributeError):
        return
    known = {}

    def remembered(lineno, source, assertion=False, astnode=None):
        lines = known.setdefault("\n".join(source.lines), {})
        key = (lineno, assertion)
        if key not in lines:
            lines[key] = find(lineno, source, assertion, astnode)
        return lines[key]

    code.getstatementrange_ast = remembered


_remember_statements()
