"""How long the container commands take, from process start to process end: `reenact docker` beside podman, in turn."""

import statistics
import subprocess
import time

import engines

ROUNDS = 15


def one_round(executable, image, host_file, number):
    """Milliseconds of each command of one container's life."""
    name, took = f"reenact-bench-{number}", {}

    def call(what, *args, **more):
        start = time.monotonic()
        ran = subprocess.run([str(executable), *map(str, args)], capture_output=True, **more)
        took[what] = (time.monotonic() - start) * 1000
        if ran.returncode != 0:
            raise SystemExit(f"{executable} {' '.join(map(str, args))}: {ran.stderr.decode(errors='replace')}")

    call("run -d --init", "run", "-d", "--init", "--name", name, "-w", "/workspace", image, "sleep", "2h")
    call("exec true", "exec", name, "true")
    call("exec bash -lc", "exec", "-w", "/workspace", name, "bash", "-lc", "echo x > f")
    call("exec -i (1 MiB in)", "exec", "-i", name, "cat", input=bytes(1 << 20))
    call("cp in", "cp", host_file, f"{name}:/tmp/in")
    call("cp out", "cp", f"{name}:/tmp/in", f"{host_file}.out")
    call("commit", "commit", name, f"reenact-bench/committed:{number}")
    call("stop", "stop", name)
    call("rm -f", "rm", "-f", name)
    call("rmi -f", "rmi", "-f", f"reenact-bench/committed:{number}")
    call("run --rm", "run", "--rm", image, "true")
    return took


def compare(lab, instance):
    """Medians by engine and command, rounds taken in turn; ours first."""
    host_file = lab.file("copied", "x" * 65536)
    engine = {"reenact docker": lab.docker, "podman": lab.podman}
    for executable in engine.values():
        subprocess.run([str(executable), "rm", "-f", "reenact-bench-0"], capture_output=True)
    rounds = {name: [] for name in engine}
    for _ in range(ROUNDS):
        for name, executable in engine.items():
            rounds[name].append(one_round(executable, engines.image_name(instance), host_file, 0))
    return {name: {what: round(statistics.median(r[what] for r in taken), 2) for what in taken[0]} for name, taken in rounds.items()}


def table(medians):
    ours, theirs = medians["reenact docker"], medians["podman"]
    lines = [f"| command, median of {ROUNDS} | reenact docker, ms | podman, ms | ratio |", "|---|---|---|---|"]
    lines += [f"| {what} | {ours[what]:.1f} | {theirs[what]:.1f} | {theirs[what] / ours[what]:.1f} |" for what in ours]
    return "\n".join(lines)
