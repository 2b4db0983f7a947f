//! `README.md` of a new submission: what the manifest has no place for, to be filled in.

use super::score::Headline;

/// The text; written once, and the author's from then on.
pub(super) fn readme(id: &str, headline: &Headline) -> String {
    let title: String = id.chars().filter(|c| !c.is_control()).collect();
    format!(
        "# {title}\n\n\
         A submission to the [ProgramBench](https://programbench.com) leaderboard: {attempted} of {of} tasks attempted, mean score \
         {mean:.1} %, resolved {resolved:.1} % (over all {of}).\n\n\
         ## The system\n\n\
         <!-- Model (exact version, settings), agent (version, prompts, tools, limits), and what was done at test time. -->\n\n\
         ## How to run it again\n\n\
         <!-- The commands, from an empty directory to this one. -->\n\n\
         ## What is here\n\n\
         - `submission.yaml`: who and what. Fill in every field that still says `TODO`.\n\
         - `<task>/submission.tar.gz` (or `.url` and `.sha256`): what the agent handed in.\n\
         - `<task>/<task>.eval.json` and `<task>.eval.log.json`: results, and what was logged on the way to them. \
         `programbench submit recombine .` or `reenact programbench submit recombine .` puts them together.\n\
         - `_stats/score.json`: which test passed, by task. Other statistics (`cost`, `calls`, `tokens`) may lie beside it as \
         `{{task: number}}`; they have to come from the trajectories, by a script that is published here too.\n\n\
         ## Anybody can check it\n\n\
         ```sh\n\
         uvx programbench submit verify .            # the scores follow from the results\n\
         uvx programbench submit verify . --tier1    # and the results from the submissions; or, without Docker:\n\
         reenact programbench submit verify . --tier1\n\
         ```\n\n\
         ## We state that\n\n\
         - [ ] the programs were written from the behaviour of the references and their documentation alone: no sources, no \
         mirrors, no package registries\n\
         - [ ] the model had no access to the internet and to no test while it worked\n\
         - [ ] trajectories of all tasks are included\n\
         - [ ] this submission may be evaluated again, and be marked or removed if that contradicts it\n",
        attempted = headline.attempted,
        of = headline.benchmark,
        mean = headline.mean_score * 100.0,
        resolved = headline.resolved_pct,
    )
}
