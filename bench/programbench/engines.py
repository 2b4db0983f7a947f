"""The tools that are measured, and the images that they share."""

import json
import os
import pathlib
import shutil
import subprocess
import time

import suite

TAG = "task_cleanroom_v6"
# What a ProgramBench image has, and the program that the suite asks about. Python's packages come from the package index,
# so that the official tool's own pip step has nothing but pytest-rerunfailures to fetch.
PACKAGES = "bash coreutils tar gzip findutils grep sed diffutils util-linux git python3 python3-pip gcc libc6-dev make lua5.4".split()
PYTHON_PACKAGES = ["pytest==8.4.2", "pytest-xdist==3.8.0", "pytest-timeout==2.4.0"]
CONTAINERS_CONF = """\
[containers]
netns = "host"
default_ulimits = ["nofile=4096:4096", "nproc=8192:8192"]
[engine]
runtime = "runc"
cgroup_manager = "cgroupfs"
events_logger = "file"
"""


def image_name(instance):
    return f"programbench/{instance.replace('__', '_1776_')}:{TAG}"


def run(command, **more):
    """Runs a command that has to succeed; gives its stdout."""
    ran = subprocess.run([str(c) for c in command], capture_output=True, text=True, **more)
    if ran.returncode != 0:
        raise SystemExit(f"{' '.join(map(str, command))}: exit code {ran.returncode}\n{ran.stdout[-2000:]}{ran.stderr[-4000:]}")
    return ran.stdout


def now():
    return time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime())


def timed(command, env=None, cwd=None, log=None):
    """Wall seconds, CPU seconds and exit code of a command and all that it waits for."""
    before, start = os.times(), time.monotonic()
    with open(log or os.devnull, "w") as out:
        code = subprocess.run([str(c) for c in command], env=env, cwd=cwd, stdout=out, stderr=subprocess.STDOUT).returncode
    after = os.times()
    cpu = after.children_user - before.children_user + after.children_system - before.children_system
    return {"wall_s": round(time.monotonic() - start, 3), "cpu_s": round(cpu, 3), "code": code, "at": now()}


class Lab:
    """A working directory with the suite, the wrappers, the images and a copy of the official package."""

    def __init__(self, work, reenact, venv):
        self.work, self.reenact, self.venv = pathlib.Path(work).resolve(), pathlib.Path(reenact).resolve(), pathlib.Path(venv).resolve()
        self.work.mkdir(parents=True, exist_ok=True)
        self.suite = self.work / "suite"
        self.images = self.work / "images"

    def prepare(self, tests, branches, seed):
        if not (self.suite / "tasks").is_dir():
            total, ignored = suite.build(self.suite, tests=tests, count=branches, seed=seed)
            print(f"suite: {total} tests, {ignored} ignored, {branches} branches")
        self.podman = self.wrapper("podman", f'export CONTAINERS_CONF={self.file("containers.conf", CONTAINERS_CONF)}\nexec podman --log-level=error "$@"')
        self.docker = self.wrapper("reenact-docker", f'export REENACT_IMAGES={self.images}\nexec {self.reenact} docker "$@"')

    def file(self, name, text):
        path = self.work / name
        path.write_text(text)
        return path

    def wrapper(self, name, text):
        path = self.file(name, f"#!/bin/sh\n{text}\n")
        path.chmod(0o755)
        return path

    def make_images(self, root_tar):
        """One image for both engines: made with podman, saved, and imported into our store."""
        first, *others = [image_name(i) for i in suite.TASKS]
        have = run([self.podman, "images", "--format", "{{.Repository}}:{{.Tag}}"])
        saved = self.work / "image.tar"
        if f"localhost/{first}" not in have or not saved.exists():
            path = "PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
            run([self.podman, "import", "--change", "WORKDIR=/workspace", "--change", f"ENV={path}", root_tar, "reenact-bench-base"])
            subprocess.run([self.podman, "rm", "-f", "reenact-bench-make"], capture_output=True)
            pip = ["pip3", "install", "-q", "--root-user-action=ignore", "--disable-pip-version-check", *PYTHON_PACKAGES]
            run([self.podman, "run", "--name", "reenact-bench-make", "reenact-bench-base", *pip])
            run([self.podman, "commit", "-q", "reenact-bench-make", first])
            run([self.podman, "rm", "-f", "reenact-bench-make"])
            for other in others:
                run([self.podman, "tag", first, other])
            saved.unlink(missing_ok=True)
            run([self.podman, "save", "-q", "-o", saved, first])
        return saved

    def import_images(self, saved):
        have = run([self.reenact, "image", "list"], env=self.our_environment())
        for instance in suite.TASKS:
            if image_name(instance).split(":")[0] not in have:
                start = time.monotonic()
                run([self.reenact, "image", "import", saved, "--name", image_name(instance)], env=self.our_environment())
                print(f"image import of {saved.stat().st_size >> 20} MiB: {time.monotonic() - start:.1f} s")

    def our_environment(self):
        return {**os.environ, "REENACT_IMAGES": str(self.images), "NO_COLOR": "1"}

    def fresh_run(self, tool, submission, instance):
        """A run directory of its own, without results."""
        target = self.work / "runs" / f"{tool}-{submission}-{instance.split('.')[0]}"
        shutil.rmtree(target, ignore_errors=True)
        shutil.copytree(self.suite / "runs" / submission / instance, target / instance)
        return target

    def ours(self, submission, instance, workers):
        target = self.fresh_run(f"ours{workers}", submission, instance)
        command = [self.reenact, "programbench", "eval", target, "-b", workers, "--tasks", self.suite / "tasks", "--blobs", self.suite / "blobs"]
        result = timed(command, env=self.our_environment(), cwd=self.work, log=f"{target}.log")
        return {**result, **verdicts(target, instance)}

    def official(self, submission, instance, workers, executable=None):
        """The official tool, from a copy of its package that has our task too; its container command is podman."""
        package = self.work / "official" / "programbench"
        if not package.is_dir():
            original = next(self.venv.glob("lib/python3*/site-packages/programbench"))
            shutil.copytree(original, package)
        for task in suite.TASKS:
            shutil.copytree(self.suite / "tasks" / task, package / "data" / "tasks" / task, dirs_exist_ok=True)
        target = self.fresh_run(f"official{workers}", submission, instance)
        env = {**os.environ, "PYTHONPATH": str(package.parent), "PROGRAMBENCH_BLOB_DIR": str(self.suite / "blobs"), "PROGRAMBENCH_DOCKER_EXECUTABLE": str(executable or self.podman)}
        start = "import sys; from programbench.cli.main import app; sys.argv[0] = 'programbench'; app()"
        command = [self.venv / "bin" / "python", "-c", start, "eval", target, "-b", workers, "--force", "--filter", instance.replace(".", "[.]")]
        result = timed(command, env=env, cwd=self.work, log=f"{target}.log")
        return {**result, **verdicts(target, instance)}

    def bare(self, submission, instance, workers):
        """Nothing but the suite's own `run.sh` for each branch, `workers` at once, in one container, timed in there."""
        script = """set -e
mkdir /build && tar -xzf /s/runs/$1/$2/submission.tar.gz -C /build && cd /build && bash compile.sh
for branch in /s/blobs/$2/tests/*; do
  dir=/branches/${branch##*/} && mkdir -p $dir && cp executable $dir && tar -xzf "$branch" -C $dir
done
start=$EPOCHREALTIME
ls -d /branches/* | xargs -P $3 -I% bash %/eval/run.sh >/dev/null 2>&1
echo "$start $EPOCHREALTIME" """
        mount = ["run", "--rm", "-e", "PYTEST_XDIST_AUTO_NUM_WORKERS=10", "-v", f"{self.suite}:/s:ro", image_name(instance)]
        start, end = map(float, run([self.podman, *mount, "bash", "-c", script, "bash", submission, instance, str(workers)]).split())
        return {"wall_s": round(end - start, 3), "code": 0, "at": now()}


def verdicts(target, instance):
    """What an eval.json says: the official score, and every status by branch and name."""
    path = target / instance / f"{instance}.eval.json"
    if not path.exists():
        return {"score": None, "statuses": None}
    found = json.loads(path.read_text())
    statuses = {}
    for test in found["test_results"]:
        statuses.setdefault(f"{test['branch']}/{test['name']}", []).append(test["status"])
    results = found["test_results"]
    passed = sum(t["status"] == "passed" for t in results)
    error = found.get("error_code") or found.get("test_branch_errors") or None
    return {"score": passed / len(results) if results else 0.0, "passed": passed, "tests": len(results), "error": error, "statuses": statuses}
