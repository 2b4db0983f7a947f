//! What ended somebody else's agent, from the name that its harness gives it: an exception's class, or an exit status.
//!
//! The names are those of Harbor's failure table (`models/trial/error_policy.py` of PyPI `harbor` 0.25.0), of litellm, and of
//! mini-swe-agent 2.4.6 (`agents/default.py`, `exceptions.py`, `run/benchmarks/programbench.py`).

use reenact_model::run::{AgentOutcome, Outcome};

/// Who or what ended an attempt.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Cause {
    /// The box: start, build, memory, connection.
    Sandbox,
    /// The model's provider, or the way to it.
    Provider,
    /// The harness that ran the agent.
    Harness,
    /// The agent's own budget: time, steps, context.
    Budget,
    /// The agent, or its model, declined.
    Refused,
    /// Grading, after the agent was done.
    Verifier,
    Cancelled,
    /// A name that nobody has classified.
    Unclassified,
}

const SANDBOX: &[&str] = &[
    "AddTestsDirError",
    "AgentSetupTimeoutError",
    "DownloadVerifierDirError",
    "EnvironmentStartTimeoutError",
    "GKEExecStreamClosedError",
    "GKEPodNotFoundError",
    "HealthcheckError",
    "MemoryLimitExceededError",
    "RuntimeRequestError",
    "SSHAccessError",
    "SandboxBuildFailedError",
    "SandboxLikelyOutOfMemoryError",
];

const PROVIDER: &[&str] = &[
    "APIConnectionError",
    "APIError",
    "APIResponseValidationError",
    "AgentAuthenticationError",
    "ApiConnectionClosedError",
    "ApiConnectionError",
    "ApiError",
    "ApiInternalServerError",
    "ApiOverloadedError",
    "ApiProviderResourceNotFoundError",
    "ApiRateLimitError",
    "ApiResponseStalledError",
    "ApiUsageLimitError",
    "AuthenticationError",
    "BadRequestError",
    "BudgetExceededError",
    "InternalServerError",
    "ModelNotFoundError",
    "NetworkConnectionError",
    "NotFoundError",
    "PermissionDeniedError",
    "RateLimitError",
    "ServiceUnavailableError",
    "Timeout",
    "UnknownApiError",
    "UnprocessableEntityError",
    "UnsupportedParamsError",
];

const HARNESS: &[&str] = &[
    "DspyImportError",
    "MissingExtraError",
    "RegradeError",
    "ServiceOperationsUnsupportedError",
    "VercelScopeError",
];

const BUDGET: &[&str] = &[
    "AgentTimeoutError",
    "ContextLengthExceededError",
    "ContextWindowExceededError",
    "OutputLengthExceededError",
    "OutputTokenExceededError",
];

const REFUSED: &[&str] = &["AgentSafetyRefusalError", "ContentPolicyViolationError"];

const VERIFIER: &[&str] = &[
    "RewardFileEmptyError",
    "RewardFileNotFoundError",
    "VerifierOutputParseError",
    "VerifierTimeoutError",
];

/// Exit statuses of mini-swe-agent's own, and what its container command raises.
const MINI: &[(&str, Cause)] = &[
    ("CalledProcessError", Cause::Sandbox),
    ("KeyboardInterrupt", Cause::Cancelled),
    ("LimitsExceeded", Cause::Budget),
    ("RepeatedFormatError", Cause::Budget),
    ("TimeExceeded", Cause::Budget),
    ("TimeoutExpired", Cause::Sandbox),
    ("UserInterruption", Cause::Cancelled),
];

impl Cause {
    /// The cause of an exception that Harbor recorded.
    pub fn of_harbor(exception: &str) -> Self {
        let tables = [
            (SANDBOX, Self::Sandbox),
            (PROVIDER, Self::Provider),
            (HARNESS, Self::Harness),
            (BUDGET, Self::Budget),
            (REFUSED, Self::Refused),
            (VERIFIER, Self::Verifier),
            (&["CancelledError"], Self::Cancelled),
        ];
        let found = tables.iter().find(|(names, _)| names.contains(&exception));
        found.map_or(Self::Unclassified, |(_, cause)| *cause)
    }

    /// The cause of an exit status of mini-swe-agent other than `Submitted`.
    pub fn of_mini(status: &str) -> Self {
        let own = MINI.iter().find(|(name, _)| *name == status);
        own.map_or_else(|| Self::of_harbor(status), |(_, cause)| *cause)
    }

    /// How the agent ended.
    pub fn agent_outcome(self) -> AgentOutcome {
        match self {
            Self::Sandbox => AgentOutcome::SandboxFailed,
            Self::Provider => AgentOutcome::ProviderFailed,
            Self::Budget => AgentOutcome::ExhaustedBudget,
            Self::Refused => AgentOutcome::Refused,
            Self::Cancelled => AgentOutcome::Cancelled,
            // It was done; what failed came after it.
            Self::Verifier => AgentOutcome::Submitted,
            Self::Harness | Self::Unclassified => AgentOutcome::Failed,
        }
    }

    /// The outcome of an attempt that this ended; `graded` tells whether there is a verdict. Only what the agent brought about itself
    /// leaves a verdict valid.
    pub fn outcome(self, graded: bool) -> Outcome {
        match self {
            Self::Sandbox => Outcome::SandboxFailed,
            Self::Provider => Outcome::ModelProviderFailed,
            Self::Cancelled => Outcome::Cancelled,
            Self::Budget if graded => Outcome::AgentExhaustedBudget,
            Self::Refused if graded => Outcome::AgentRefused,
            Self::Budget | Self::Refused | Self::Verifier | Self::Harness | Self::Unclassified => {
                Outcome::HarnessFailed
            }
        }
    }
}

/// How an agent of mini-swe-agent ended. An empty status is that of a trajectory whose agent was stopped in its work.
pub fn mini_outcome(exit_status: &str) -> AgentOutcome {
    match exit_status {
        "Submitted" => AgentOutcome::Submitted,
        "" => AgentOutcome::Cancelled,
        other => Cause::of_mini(other).agent_outcome(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use reenact_model::run::Standing;

    #[test]
    fn only_what_the_agent_did_itself_leaves_a_valid_score() {
        for (name, graded, outcome) in [
            ("AgentTimeoutError", true, Outcome::AgentExhaustedBudget),
            ("AgentTimeoutError", false, Outcome::HarnessFailed),
            ("AgentSafetyRefusalError", true, Outcome::AgentRefused),
            ("RateLimitError", true, Outcome::ModelProviderFailed),
            ("SandboxBuildFailedError", true, Outcome::SandboxFailed),
            ("RewardFileNotFoundError", false, Outcome::HarnessFailed),
            ("CancelledError", false, Outcome::Cancelled),
            ("NonZeroAgentExitCodeError", true, Outcome::HarnessFailed),
            ("SomethingNew", true, Outcome::HarnessFailed),
        ] {
            assert_eq!(Cause::of_harbor(name).outcome(graded), outcome, "{name}");
        }
        let all = [SANDBOX, PROVIDER, HARNESS, VERIFIER].concat();
        for name in all {
            let outcome = Cause::of_harbor(name).outcome(true);
            assert_eq!(outcome.standing(), Standing::ExcludedForInfrastructure, "{name}");
        }
    }

    #[test]
    fn exit_statuses_of_mini_are_typed() {
        for (status, outcome) in [
            ("Submitted", AgentOutcome::Submitted),
            ("LimitsExceeded", AgentOutcome::ExhaustedBudget),
            ("TimeExceeded", AgentOutcome::ExhaustedBudget),
            ("RepeatedFormatError", AgentOutcome::ExhaustedBudget),
            ("ContextWindowExceededError", AgentOutcome::ExhaustedBudget),
            ("RateLimitError", AgentOutcome::ProviderFailed),
            ("TimeoutExpired", AgentOutcome::SandboxFailed),
            ("UserInterruption", AgentOutcome::Cancelled),
            ("", AgentOutcome::Cancelled),
            ("ValueError", AgentOutcome::Failed),
        ] {
            assert_eq!(mini_outcome(status), outcome, "{status}");
        }
    }
}
