//! The report as one offline HTML file: no external request, readable without script, hostile text escaped.
//!
//! Two walls stand between candidate output and the reader's browser: the template escapes everything, and the page's
//! content security policy runs no script but the one whose hash it names, so that a hole in the first wall stays without
//! effect.

mod base64;
mod page;
mod shelf;

use minijinja::Environment;
use page::Page;
use reenact_model::run::TaskResult;
use reenact_model::{BlobSource, Case, Digest, RunManifest, Seal};

const TEMPLATE: &str = include_str!("report.html.j2");
const STYLE: &str = include_str!("style.css");
const SCRIPT: &str = include_str!("filter.js");

/// One run of a report.
pub struct RunView<'a> {
    /// What the run is called: its directory, or the agent's name.
    pub name: &'a str,
    pub manifest: &'a RunManifest,
    /// In the order to be shown.
    pub results: &'a [TaskResult],
}

/// What a report may say of a task's suite and source.
pub struct SuiteView<'a> {
    pub cases: &'a [Case],
    /// The suite's blob store.
    pub blobs: &'a dyn BlobSource,
    /// How well the reference is sealed, if known.
    pub seal: Option<Seal>,
    /// Licence of the reference, if known.
    pub licence: Option<&'a str>,
    /// Where the reference came from, for instance `crate hexyl 0.16.0`.
    pub source: Option<String>,
}

/// Why a report could not be made: always our own fault.
#[derive(Debug, thiserror::Error)]
#[error("the report's template failed: {0}; please report this with the run directory")]
pub struct ReportError(#[from] minijinja::Error);

/// A report of one or several runs. `suites` gives the suite of a task by its id; without one, failing cases are listed
/// by their reasons alone. About 20 MiB at most: past a budget, cases are listed without their differences, and it says so.
///
/// # Errors
/// [`ReportError`] if the template fails.
pub fn html<'s>(
    runs: &[RunView<'_>],
    suites: &dyn Fn(&str) -> Option<SuiteView<'s>>,
) -> Result<String, ReportError> {
    let page = Page::new(runs, suites);
    let mut env = Environment::new();
    env.set_auto_escape_callback(|_| minijinja::AutoEscape::Html);
    env.set_trim_blocks(true);
    env.set_lstrip_blocks(true);
    env.add_template("report.html", TEMPLATE)?;
    let context = minijinja::context! {
        page => page,
        style => STYLE,
        script => SCRIPT,
        style_hash => csp_hash(STYLE),
        script_hash => csp_hash(SCRIPT),
    };
    Ok(env.get_template("report.html")?.render(context)?)
}

/// The hash source of a content security policy for an inline element.
fn csp_hash(text: &str) -> String {
    let raw = reenact_model::digest::from_hex(&Digest::of(text.as_bytes()).hex());
    format!("sha256-{}", base64::encode(&raw.unwrap_or_default()))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::fixtures::{case, judged, result, seen, step, unseen};
    use reenact_model::run::this_harness;
    use reenact_model::{Ended, NoBlobs, Outcome, Verdict};

    fn manifest(agent: &str) -> RunManifest {
        RunManifest {
            schema: 1,
            agent: agent.to_owned(),
            upper_bound: agent == "reference",
            created: "2026-01-01T00:00:00Z".into(),
            harness: this_harness("0.1.0", Some("abc1234"), true),
            isolation: [("network".to_owned(), "namespace".to_owned())].into(),
            settings: Default::default(),
            tasks: Default::default(),
        }
    }

    const EVIL: &str =
        "<script>alert('x')</script>\"><img src=x onerror=alert(1)>\u{202e}\u{1b}[31m";

    #[test]
    fn hostile_text_in_every_field_stays_text() {
        let mut hostile = case(
            r#"{"id":"c-1","steps":[{"argv":["x"],"expect":{"exit":0,"stdout":[{"exact":{"text":"a\n"}}]}}]}"#,
        );
        hostile.id = EVIL.into();
        hostile.group = EVIL.into();
        hostile.steps[0].argv = vec![EVIL.into()];
        hostile.steps[0].env.insert(EVIL.into(), EVIL.into());
        hostile.steps[0].stdin = Some(reenact_model::Content::Text(EVIL.into()));
        hostile.tags.insert(EVIL.into());
        hostile.files.insert(EVIL.into(), reenact_model::FileSpec::Symlink(EVIL.into()));
        let observed = seen(vec![step(Ended::Exit { code: 1 }, EVIL.as_bytes(), EVIL.as_bytes())]);
        let mut graded = result(EVIL, 0, 2);
        graded.cases = vec![
            judged(&hostile, observed),
            unseen("c-2", Verdict::HarnessError { what: EVIL.into() }),
        ];
        graded.why = Some(EVIL.into());
        graded.outcome = Outcome::BuildFailed;
        graded.build.ok = false;
        graded.build.output = format!("{EVIL}\n</pre></details>");
        graded.build.error = Some(EVIL.into());
        graded.build.error_code = Some(EVIL.into());
        graded.notes = vec![EVIL.into()];
        graded.groups = [(EVIL.to_owned(), Default::default())].into();
        graded.isolation = [(EVIL.to_owned(), EVIL.to_owned())].into();
        graded.harness.version = EVIL.into();
        let mut m = manifest(EVIL);
        m.settings = [(EVIL.to_owned(), EVIL.to_owned())].into();
        m.created = EVIL.into();
        let cases = vec![hostile];
        let results = vec![graded];
        let view = |name| RunView { name, manifest: &m, results: &results };
        let page = html(&[view(EVIL), view("other")], &|_| {
            Some(SuiteView {
                cases: &cases,
                blobs: &NoBlobs,
                seal: Some(Seal::Guarded),
                licence: Some(EVIL),
                source: Some(EVIL.to_owned()),
            })
        })
        .unwrap();
        assert_eq!(page.matches("<script").count(), 1, "only our own script");
        assert!(!page.contains("<img") && page.contains("&lt;img"));
        assert!(!page.contains("\u{202e}") && !page.contains('\u{1b}'));
        // No attribute is closed early: the hostile quote never stands next to a bracket.
        assert!(!page.contains("\"><img") && !page.contains("</pre></details>\n</"));
    }

    #[test]
    fn the_page_asks_for_nothing_and_allows_no_other_script() {
        let m = manifest("null");
        let results = vec![result("a", 1, 4)];
        let page =
            html(&[RunView { name: "r", manifest: &m, results: &results }], &|_| None).unwrap();
        for forbidden in ["http://", "https://", " src=", "@import", "url("] {
            assert!(!page.contains(forbidden), "{forbidden}");
        }
        let policy =
            page.split("http-equiv=\"Content-Security-Policy\" content=\"").nth(1).unwrap();
        let policy = policy.split('"').next().unwrap().replace("&#x2f;", "/");
        assert!(policy.starts_with("default-src 'none';"), "{policy}");
        for (element, text) in [("script", SCRIPT), ("style", STYLE)] {
            assert!(policy.contains(&csp_hash(text)), "{policy}");
            assert!(
                page.contains(&format!("<{element}>{text}</{element}>")),
                "the hash is of these bytes"
            );
        }
        assert!(!page.contains(" style=\"") && !page.contains(" onclick="));
    }

    #[test]
    fn the_page_tells_scores_failures_and_marks_upper_bounds() {
        let one = case(
            r#"{"id":"c-1","group":"options","steps":[{"argv":["--wide"],"expect":{"exit":0,"stdout":[{"exact":{"text":"right\n"}}]}}]}"#,
        );
        let mut graded = result("crate__x.1", 3, 4);
        graded.cases =
            vec![judged(&one, seen(vec![step(Ended::Exit { code: 0 }, b"wrong\n", b"")]))];
        let (results, cases) = (vec![graded], vec![one]);
        let (a, b) = (manifest("memorizer"), manifest("reference"));
        let runs = [
            RunView { name: "memorizer", manifest: &a, results: &results },
            RunView { name: "reference", manifest: &b, results: &results },
        ];
        let page = html(&runs, &|_| {
            Some(SuiteView {
                cases: &cases,
                blobs: &NoBlobs,
                seal: Some(Seal::Sealed),
                licence: Some("MIT"),
                source: None,
            })
        })
        .unwrap();
        for text in [
            "75.0 %",
            "3/4",
            "upper bound",
            "$PROGRAM",
            "--wide",
            "right",
            "wrong",
            "sealed",
            "MIT",
        ] {
            assert!(page.contains(text), "{text}");
        }
        // In the table of runs and over the run's section, for one run of the two.
        assert_eq!(page.matches(">upper bound<").count(), 2);
    }

    #[test]
    fn a_huge_run_stays_within_its_size() {
        let cases: Vec<Case> = (0..1000)
            .map(|i| {
                let lines: String = (0..150).map(|n| format!("{n} {i} some line of output\\n")).collect();
                case(&format!(
                    r#"{{"id":"c-{i}","steps":[{{"argv":["{i}"],"expect":{{"stdout":[{{"exact":{{"text":"{lines}"}}}}]}}}}]}}"#
                ))
            })
            .collect();
        let wrong: String = (0..150).map(|n| format!("{n} other\n")).collect();
        let mut graded = result("a", 0, 1000);
        graded.cases = cases
            .iter()
            .map(|c| judged(c, seen(vec![step(Ended::Exit { code: 0 }, wrong.as_bytes(), b"")])))
            .collect();
        let m = manifest("null");
        let results = vec![graded.clone(), TaskResult { task: "b".into(), ..graded }];
        let run = RunView { name: "r", manifest: &m, results: &results };
        let page = html(&[run], &|_| {
            Some(SuiteView {
                cases: &cases,
                blobs: &NoBlobs,
                seal: None,
                licence: None,
                source: None,
            })
        })
        .unwrap();
        assert!(page.len() < 20 << 20, "{}", page.len());
        assert!(page.contains("c-999"), "cases past the cap are still listed");
        assert!(page.contains("are listed without"), "and the page says so");
    }
}
