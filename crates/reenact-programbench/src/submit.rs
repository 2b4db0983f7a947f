//! Run directories packaged, verified, recombined; the leaderboard.
