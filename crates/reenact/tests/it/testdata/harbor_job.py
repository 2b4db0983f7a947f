"""Makes testdata/harbor-job with the models of PyPI `harbor` 0.25.0 itself (Python 3.12 or later):

    python harbor_job.py harbor-job
"""

import json
import sys
from datetime import datetime, timedelta, timezone
from pathlib import Path
from uuid import UUID

from harbor.models.agent.context import AgentContext, ModelUsage
from harbor.models.job.result import JobResult, JobStats
from harbor.models.task.id import LocalTaskId, PackageTaskId
from harbor.models.trajectories import (
    Agent, FinalMetrics, Metrics, Observation, ObservationResult, Step, ToolCall, Trajectory,
)
from harbor.models.trial.config import AgentConfig, TaskConfig, TrialConfig
from harbor.models.trial.paths import TrialPaths
from harbor.models.trial.result import (
    AgentInfo, ExceptionInfo, ModelInfo, StepResult, TimingInfo, TrialResult,
)
from harbor.models.verifier.result import VerifierResult

ROOT = Path(sys.argv[1])
BEGAN = datetime(2026, 11, 21, 12, 0, tzinfo=timezone.utc)


def phase(start: float, seconds: float) -> TimingInfo:
    begin = BEGAN + timedelta(seconds=start)
    return TimingInfo(started_at=begin, finished_at=begin + timedelta(seconds=seconds))


def trial(number: int, task: str, attempt: str, *, rewards=..., exception=None, steps=None, package=False) -> TrialResult:
    name = f"{task.split('/')[-1]}__{attempt}"
    paths = TrialPaths(ROOT / name)
    paths.mkdir()
    result = TrialResult(
        id=UUID(int=number),
        task_name=task,
        trial_name=name,
        trial_uri=f"file:///jobs/{name}",
        task_id=PackageTaskId(org=task.split("/")[0], name=task.split("/")[1], ref="sha256:" + "a" * 64)
        if package else LocalTaskId(path=Path("tasks") / task.split("/")[-1]),
        source="reenact-demo",
        task_checksum="ab" * 32,
        config=TrialConfig(task=TaskConfig(path=Path("tasks") / task.split("/")[-1]), trial_name=name,
                           agent=AgentConfig(name="terminus-2", model_name="anthropic/claude-x")),
        agent_info=AgentInfo(name="terminus-2", version="2.0", model_info=ModelInfo(name="claude-x", provider="anthropic")),
        started_at=BEGAN + timedelta(seconds=number),
        finished_at=BEGAN + timedelta(seconds=number + 100),
        agent_execution=phase(number + 5, 60.5),
    )
    if steps is None:
        result.agent_result = AgentContext(
            n_input_tokens=1000 * number, n_cache_tokens=400, n_output_tokens=50, cost_usd=0.125 * number,
            model_usage={"claude-x": ModelUsage(n_input_tokens=1000 * number, n_output_tokens=50)},
        )
    result.step_results = steps
    if rewards is not ...:
        result.verifier_result = VerifierResult(rewards=rewards)
        result.verifier = phase(number + 70, 3)
    if exception is not None:
        kind, message = exception
        result.exception_info = ExceptionInfo(
            exception_type=kind, exception_message=message, exception_traceback="Traceback …\n", occurred_at=BEGAN)
    paths.result_path.write_text(result.model_dump_json(indent=4))
    paths.config_path.write_text(result.config.model_dump_json(indent=4))
    paths.log_path.write_text("")
    return result


def trajectory(result: TrialResult) -> None:
    steps = [
        Step(step_id=1, source="user", message="Rebuild it."),
        Step(step_id=2, timestamp="2026-11-21T12:00:06Z", source="agent", message="Looking.", model_name="claude-x",
             tool_calls=[ToolCall(tool_call_id="c1", function_name="bash", arguments={"command": "ls"})],
             observation=Observation(results=[ObservationResult(source_call_id="c1", content="docs\n")]),
             metrics=Metrics(prompt_tokens=1000, completion_tokens=50, cached_tokens=400, cost_usd=0.125)),
    ]
    document = Trajectory(agent=Agent(name="terminus-2", version="2.0", model_name="claude-x"), steps=steps, session_id="s",
                          final_metrics=FinalMetrics(total_prompt_tokens=1000, total_completion_tokens=50, total_steps=2))
    path = TrialPaths(ROOT / result.trial_name).agent_dir / "trajectory.json"
    path.write_text(json.dumps(document.model_dump(mode="json", exclude_none=True), indent=2))


def ctrf(result: TrialResult) -> None:
    tests = [{"name": f"case-{i}", "status": "passed" if i else "failed", "duration": 12 + i, "suite": ["pytest", "cli"]}
             for i in range(4)]
    tests[0]["message"] = "AssertionError: \u001b[31mexit 1\u001b[0m"
    document = {"results": {"tool": {"name": "pytest"}, "summary": {"tests": 4, "passed": 3, "failed": 1, "skipped": 0,
                "pending": 0, "other": 0, "start": 0, "stop": 1}, "tests": tests}}
    verifier = TrialPaths(ROOT / result.trial_name).verifier_dir
    (verifier / "ctrf.json").write_text(json.dumps(document, indent=2))
    (verifier / "reward.json").write_text(json.dumps(result.verifier_result.rewards))


solved = trial(1, "reenact/crate__hexyl.0.17.0", "aaaaaaa",
               rewards={"reward": 0.75, "resolved": 0, "near_resolved": 0, "n_passed": 3, "n_tests": 4}, package=True)
trajectory(solved)
ctrf(solved)
trials = [
    solved,
    trial(2, "reenact/crate__hexyl.0.17.0", "bbbbbbb", rewards={"reward": 0}, package=True),
    trial(3, "org/hello-world", "ccccccc", rewards=None),
    trial(4, "org/budget", "ddddddd", rewards={"reward": 0.5}, exception=("AgentTimeoutError", "Agent timed out after 60 s")),
    trial(5, "org/broken", "eeeeeee", exception=("EnvironmentStartTimeoutError", "no start\nin 600 s")),
    trial(6, "org/steps", "fffffff", rewards={"reward": 1.0}, steps=[
        StepResult(step_name="one", agent_result=AgentContext(n_input_tokens=10, cost_usd=0.5), agent_execution=phase(6, 1)),
        StepResult(step_name="two", agent_result=AgentContext(n_output_tokens=3, cost_usd=0.25), agent_execution=phase(8, 2)),
    ]),
]
job = JobResult(id=UUID(int=99), started_at=BEGAN, finished_at=BEGAN + timedelta(seconds=900), n_total_trials=7,
                stats=JobStats.from_trial_results(trials, n_total_trials=7, n_running_trials=1))
(ROOT / "result.json").write_text(job.model_dump_json(indent=4, exclude={"trial_results"}))
running = TrialPaths(ROOT / "running__ggggggg")
running.mkdir()
running.config_path.write_text(trials[0].config.model_dump_json(indent=4))
