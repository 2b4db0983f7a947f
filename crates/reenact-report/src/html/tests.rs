use super::*;
use crate::fixtures::{case, judged, result, seen, step, unseen};
use reenact_model::integrity::{IntegrityFinding, Judgement, Severity};
use reenact_model::policy::Policy;
use reenact_model::run::{AgentOutcome, Model, RunTask, Setup, Tokens, Work, this_harness};
use reenact_model::{Ended, NoBlobs, Outcome, Verdict};

static NOTHING: BTreeMap<String, Left> = BTreeMap::new();

fn manifest(agent: &str) -> RunManifest {
    RunManifest {
        schema: 1,
        agent: agent.to_owned(),
        upper_bound: agent == "reference",
        created: "2026-01-01T00:00:00Z".into(),
        harness: this_harness("0.1.0", Some("abc1234"), true),
        isolation: [("network".to_owned(), "namespace".to_owned())].into(),
        settings: Default::default(),
        setup: None,
        tasks: Default::default(),
    }
}

/// Hostile text in every field that an agent, or a file that it may have written, can reach.
fn hostile_left() -> Left {
    use crate::probes::fixtures::{probe, stream, surface};
    let mut p = probe(1, &format!("--{EVIL} --width={EVIL} {EVIL}"), 2, EVIL);
    p.cwd = EVIL.into();
    p.time = EVIL.into();
    p.env.insert(EVIL.into(), Some(EVIL.into()));
    p.stdin = stream(reenact_model::probe::StreamKind::Pipe, EVIL);
    let mut surface = surface();
    surface.options[0].names = vec![format!("--{EVIL}")];
    surface.subcommands.push(vec![EVIL.into()]);
    surface.env.push(EVIL.into());
    surface.exits[1].what = EVIL.into();
    let finding = |severity| IntegrityFinding {
        rule: EVIL.into(),
        severity,
        step: Some(3),
        path: Some(EVIL.into()),
        offset: Some(7),
        evidence: EVIL.repeat(50),
        why: EVIL.into(),
    };
    Left {
        probes: Some(vec![p.clone(), Probe { id: 2, ended: None, ..p }]),
        surface: Some(surface),
        integrity: Some(IntegrityReport {
            findings: vec![finding(Severity::Breach), finding(Severity::Note)],
            ..IntegrityReport::default()
        }),
        adjudication: Some(Adjudication {
            schema: 1,
            task: EVIL.into(),
            verdict: Judgement::Tampered,
            why: EVIL.into(),
            by: EVIL.into(),
            time: EVIL.into(),
            report: None,
        }),
    }
}

const EVIL: &str = "<script>alert('x')</script>\"><img src=x onerror=alert(1)>\u{202e}\u{1b}[31m";

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
    m.setup = Some(setup(EVIL));
    m.tasks = [(EVIL.to_owned(), worked(EVIL))].into();
    let cases = vec![hostile];
    let results = vec![graded];
    let left = [(EVIL.to_owned(), hostile_left())].into();
    let view = |name| RunView { name, manifest: &m, results: &results, left: &left };
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
        html(&[RunView { name: "r", manifest: &m, results: &results, left: &NOTHING }], &|_| None)
            .unwrap();
    for forbidden in ["http://", "https://", " src=", "@import", "url("] {
        assert!(!page.contains(forbidden), "{forbidden}");
    }
    let policy = page.split("http-equiv=\"Content-Security-Policy\" content=\"").nth(1).unwrap();
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
    graded.cases = vec![judged(&one, seen(vec![step(Ended::Exit { code: 0 }, b"wrong\n", b"")]))];
    let (results, cases) = (vec![graded], vec![one]);
    let (a, b) = (manifest("memorizer"), manifest("reference"));
    let runs = [
        RunView { name: "memorizer", manifest: &a, results: &results, left: &NOTHING },
        RunView { name: "reference", manifest: &b, results: &results, left: &NOTHING },
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
    for text in
        ["75.0 %", "3/4", "upper bound", "$PROGRAM", "--wide", "right", "wrong", "sealed", "MIT"]
    {
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
    let run = RunView { name: "r", manifest: &m, results: &results, left: &NOTHING };
    let page = html(&[run], &|_| {
        Some(SuiteView { cases: &cases, blobs: &NoBlobs, seal: None, licence: None, source: None })
    })
    .unwrap();
    assert!(page.len() < 20 << 20, "{}", page.len());
    assert!(page.contains("c-999"), "cases past the cap are still listed");
    assert!(page.contains("are listed without"), "and the page says so");
}

fn setup(model: &str) -> Setup {
    Setup {
        attempt: 2,
        attempts: 3,
        policy_digest: Digest::of(b"policy"),
        prompts: Some(Digest::of(b"prompts")),
        prices: None,
        model: Some(Model { api: "openai".into(), name: model.into() }),
        policy: Policy { network: model.into(), cost_usd: Some(1.5), ..Policy::default() },
    }
}

/// A task's entry with everything in it.
fn worked(text: &str) -> RunTask {
    RunTask {
        path: text.into(),
        task: Digest::of(b"task"),
        reference: Digest::of(b"reference"),
        agent_outcome: AgentOutcome::ExhaustedBudget,
        probes: 2,
        wall_ms: 61_000,
        work: Some(Work {
            seal: Seal::Unsealable,
            accepted_unsealed: true,
            exit_status: text.into(),
            why: Some(text.into()),
            steps: 17,
            calls: 18,
            cost_usd: Some(0.256),
            resumed: 1,
            probes_refused: 4,
            notes: vec![text.into()],
            tokens: Tokens { input: 1000, output: 234, ..Tokens::default() },
        }),
    }
}

#[test]
fn the_page_tells_of_the_agent_its_probes_and_its_integrity() {
    use crate::probes::fixtures::{probe, surface};
    let mut probes = vec![probe(1, "-a x", 0, ""), probe(2, "--zap", 2, "unknown option")];
    probes[0].step = Some(1);
    probes[1].step = Some(4);
    let finding = IntegrityFinding {
        rule: "disassembler".into(),
        severity: Severity::Breach,
        step: Some(4),
        path: None,
        offset: None,
        evidence: "objdump -d ./executable".into(),
        why: "reads the reference".into(),
    };
    let left = Left {
        probes: Some(probes),
        surface: Some(surface()),
        integrity: Some(IntegrityReport { findings: vec![finding], ..IntegrityReport::default() }),
        adjudication: None,
    };
    let mut m = manifest("bash");
    m.setup = Some(setup("model-9"));
    m.tasks = [("a".to_owned(), worked("LimitsExceeded"))].into();
    let results = vec![result("a", 1, 4)];
    let left = [("a".to_owned(), left)].into();
    let run = RunView { name: "r", manifest: &m, results: &results, left: &left };
    let page = html(&[run], &|_| None).unwrap();
    for text in [
        "model-9 (openai)",
        "2 of 3",
        "at most 1000 steps",
        "$0.26",
        "1000 read",
        "LimitsExceeded",
        "accepted without a seal",
        "Never probed",
        "8 of 9",
        "remote add",
        ".&#x2f;executable -a x",
        "2 probes",
        "<svg class=\"chart\"",
        "objdump -d .&#x2f;executable",
        "1 breach",
    ] {
        assert!(page.contains(text), "{text}");
    }
    assert!(page.find("Never probed").unwrap() < page.find("executable -a x").unwrap());
}

#[test]
fn many_probes_stay_within_their_budget_and_the_page_says_so() {
    use crate::probes::fixtures::{probe, surface};
    let long = "'x ".repeat(400);
    let probes: Vec<Probe> =
        (1..=2000).map(|n| probe(n, &format!("--made-up-{n} --width={n} {long}"), 2, "")).collect();
    let left = Left { probes: Some(probes), surface: Some(surface()), ..Left::default() };
    let ids: Vec<String> = (0..16).map(|n| format!("t{n}")).collect();
    let results: Vec<TaskResult> = ids.iter().map(|id| result(id, 1, 4)).collect();
    let left: BTreeMap<String, Left> = ids.iter().map(|id| (id.clone(), left.clone())).collect();
    let m = manifest("bash");
    let run = RunView { name: "r", manifest: &m, results: &results, left: &left };
    let page = html(&[run], &|_| None).unwrap();
    assert!(page.len() < 8 << 20, "{}", page.len());
    assert!(page.contains("500 of 2000 are listed"), "the first has as many as may be");
    assert!(page.contains("0 of 2000 are listed"), "the last has no room left");
}
