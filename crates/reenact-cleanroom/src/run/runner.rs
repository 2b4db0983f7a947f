//! Runs of agents: tasks, attempts, workers, budgets, resume.
