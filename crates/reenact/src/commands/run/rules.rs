//! The policy: a file, and what the command line says over it.

use crate::args::RunRules;
use crate::error::CommandError;
use reenact_model::Policy;
use std::time::Duration;

/// Reads the policy file, if there is one, and applies the options.
pub fn policy(rules: &RunRules) -> Result<Policy, CommandError> {
    let mut policy = match &rules.policy {
        None => Policy::default(),
        Some(file) => {
            let text = std::fs::read_to_string(file).map_err(|e| {
                CommandError::usage(format!("{}: cannot be read: {e}", file.display()))
            })?;
            Policy::parse(file, &text).map_err(CommandError::usage)?
        }
    };
    let seconds = |d: Duration| d.as_secs() + u64::from(d.subsec_nanos() > 0);
    set(&mut policy.steps, rules.steps);
    set(&mut policy.wall_s, rules.wall.map(seconds));
    set(&mut policy.command_s, rules.command_timeout.map(seconds));
    over(&mut policy.cost_usd, rules.cost_limit);
    over(&mut policy.tokens, rules.token_limit);
    over(&mut policy.run_cost_usd, rules.run_cost_limit);
    over(&mut policy.run_tokens, rules.run_token_limit);
    policy.accept_unsealed |= rules.accept_unsealed;
    policy.check().map_err(|e| CommandError::usage(format!("policy: {e}")))?;
    Ok(policy)
}

fn set<T>(field: &mut T, given: Option<T>) {
    if let Some(value) = given {
        *field = value;
    }
}

fn over<T>(field: &mut Option<T>, given: Option<T>) {
    if given.is_some() {
        *field = given;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn options_override_the_file() {
        let temp = tempfile::tempdir().unwrap();
        let file = temp.path().join("policy.toml");
        std::fs::write(&file, "steps = 7\ncost_usd = 1.5\nwall_s = 60\n").unwrap();
        let rules = RunRules {
            policy: Some(file.clone()),
            steps: Some(9),
            command_timeout: Some(Duration::from_millis(1500)),
            run_token_limit: Some(5),
            ..RunRules::default()
        };
        let made = policy(&rules).unwrap();
        assert_eq!((made.steps, made.cost_usd, made.wall_s), (9, Some(1.5), 60));
        assert_eq!((made.command_s, made.run_tokens, made.accept_unsealed), (2, Some(5), false));

        std::fs::write(&file, "stesp = 7\n").unwrap();
        let rules = RunRules { policy: Some(file), ..RunRules::default() };
        assert_eq!(policy(&rules).unwrap_err().code(), reenact_model::ExitCode::Usage);
    }

    #[test]
    fn impossible_policies_are_refused() {
        for rules in [
            RunRules { steps: Some(0), ..RunRules::default() },
            RunRules { wall: Some(Duration::ZERO), ..RunRules::default() },
            RunRules { command_timeout: Some(Duration::ZERO), ..RunRules::default() },
        ] {
            assert_eq!(policy(&rules).unwrap_err().code(), reenact_model::ExitCode::Usage);
        }
    }
}
